"""The query tower as it is served: one ONNX graph of a request's user inputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from features.spec import ModelInputs
from serving.onnx_scorer import session
from serving.scorer import USER_INPUTS


class OnnxQueryTower:
    """Follows `serving.candidate_generation.QueryTower`."""

    def __init__(self, path: Path) -> None:
        self._graph = session(path)
        self._takes = tuple(tensor.name for tensor in self._graph.get_inputs())
        self.widths = {tensor.name: tensor.shape[1] for tensor in self._graph.get_inputs()}

    def embed(self, inputs: ModelInputs) -> np.ndarray:
        """float32 [d] of the one request of `inputs`."""
        feed = {name: getattr(inputs, name) for name in USER_INPUTS if name in self._takes}
        return self._graph.run(None, feed)[0][0]

    @property
    def dimensions(self) -> int:
        return int(self._graph.get_outputs()[0].shape[1])
