"""The scorer that runs the exported SavedModel in TensorFlow: the reference of the ONNX twin."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from features.keras2 import tensorflow as tf
from features.spec import ModelInputs
from serving.scorer import INPUTS


class TensorFlowScorer:
    """Follows `Scorer`; calls the signature `heads` as a concrete function."""

    def __init__(self, savedmodel: Path) -> None:
        self._model = tf.saved_model.load(str(savedmodel))
        self.signatures = self._model.signatures
        self._call = self.signatures["heads"]
        self._takes = tuple(self._call.structured_input_signature[1])

    @property
    def heads(self) -> tuple[str, ...]:
        return tuple(self._call.structured_outputs)

    def score(self, inputs: ModelInputs, *, items: np.ndarray | None = None) -> Mapping[str, np.ndarray]:
        """float64 [N] a head; `items` is not needed, nothing is kept."""
        feed = {name: tf.constant(getattr(inputs, name)) for name in (*INPUTS, "request") if name in self._takes}
        return {name: values.numpy().astype(np.float64) for name, values in self._call(**feed).items()}
