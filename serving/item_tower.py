"""The item tower as it is served: one ONNX graph of items' inputs, for those that begin or change after the export."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from serving.onnx_scorer import session
from serving.scorer import ITEM_INPUTS


class OnnxItemTower:
    """Follows `serving.live_catalogue.ItemTower`; an item that is new has the id "unknown" to it."""

    def __init__(self, path: Path) -> None:
        self._graph = session(path)
        self._takes = tuple(tensor.name for tensor in self._graph.get_inputs())

    def embed(self, codes: np.ndarray, lists: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """float32 [m, d] of m items."""
        feed = dict(zip(ITEM_INPUTS, (codes, lists, numbers), strict=True))
        return self._graph.run(None, {name: feed[name] for name in self._takes})[0]
