"""The one seam to TensorFlow with Keras 2: import `tensorflow` and `keras` from here, never directly.

TF-Recommenders and TF-Ranking need Keras 2 (the package tf_keras). TensorFlow chooses its Keras when it is first
imported, by TF_USE_LEGACY_KERAS, so this module sets the variable first and refuses when it came too late.
TF-Ranking 0.5.3 also imports `tensorflow.estimator`, which TensorFlow 2.16 removed: a placeholder in its place is
enough, since nothing here uses estimators.
"""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType

if sys.modules.get("tensorflow") is not None and os.environ.get("TF_USE_LEGACY_KERAS") not in ("1", "true", "True"):
    raise ImportError(
        "TensorFlow was imported before features.keras2 and without TF_USE_LEGACY_KERAS=1, so that it uses Keras 3; "
        "TF-Recommenders and TF-Ranking need Keras 2. Import features.keras2 first, or set TF_USE_LEGACY_KERAS=1 "
        "before Python starts."
    )
os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow

keras = tensorflow.keras

__all__ = ["keras", "tensorflow", "tensorflow_ranking", "tensorflow_recommenders"]


class _Absent(type):
    """A class that can be named, derived from and asked for constants (ModeKeys.TRAIN), and does nothing."""

    def __getattr__(cls, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Absent(name, (), {})


def _absent(name: str) -> type:
    """A stand-in for any name of the module but those that Python itself asks of modules."""
    if name.startswith("__"):
        raise AttributeError(name)
    return _Absent(name, (), {})


def tensorflow_ranking() -> ModuleType:
    """The package tensorflow_ranking, imported on first use."""
    if "tensorflow.estimator" not in sys.modules:
        placeholder = ModuleType("tensorflow.estimator", "Removed from TensorFlow; stands in for TF-Ranking's import.")
        placeholder.__getattr__ = _absent  # type: ignore[method-assign]
        sys.modules["tensorflow.estimator"] = placeholder
        tensorflow.estimator = tensorflow.compat.v1.estimator = placeholder
    return importlib.import_module("tensorflow_ranking")


def tensorflow_recommenders() -> ModuleType:
    """The package tensorflow_recommenders, imported on first use."""
    return importlib.import_module("tensorflow_recommenders")
