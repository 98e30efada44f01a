"""The one seam to TensorFlow with Keras 2: import `tensorflow` and `keras` from here, never directly.

TF-Recommenders and TF-Ranking need Keras 2 (the package tf_keras). TensorFlow chooses its Keras when it is first
imported, by TF_USE_LEGACY_KERAS, so this module sets the variable first and refuses when it came too late.
TF-Ranking 0.5.3 also imports `tensorflow.estimator`, which TensorFlow 2.16 removed: an empty module in its place is
enough, since nothing here uses estimators.
"""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow  # noqa: E402  (the variable must be set before)

if not tensorflow.keras.Model.__module__.startswith("tf_keras"):
    raise ImportError(
        "TensorFlow was imported before features.keras2 and chose Keras 3; "
        "TF-Recommenders and TF-Ranking need Keras 2. Import features.keras2 first, or set TF_USE_LEGACY_KERAS=1 "
        "before Python starts."
    )

keras = tensorflow.keras

__all__ = ["keras", "tensorflow", "tensorflow_ranking", "tensorflow_recommenders"]


def tensorflow_ranking() -> ModuleType:
    """The package tensorflow_ranking, imported on first use."""
    if not hasattr(tensorflow, "estimator"):
        placeholder = ModuleType("tensorflow.estimator", "Removed from TensorFlow; stands in for TF-Ranking's import.")
        sys.modules["tensorflow.estimator"] = placeholder
        tensorflow.estimator = placeholder
    return importlib.import_module("tensorflow_ranking")


def tensorflow_recommenders() -> ModuleType:
    """The package tensorflow_recommenders, imported on first use."""
    return importlib.import_module("tensorflow_recommenders")
