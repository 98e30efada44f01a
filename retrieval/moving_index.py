"""An index whose items move: new ones, and those whose content changed, are searched exactly beside it.

The index itself stays as it was built. A row that moved is struck from its answers and scored with its new embedding,
so that an answer is that of one index over all rows; the exact part costs one product a moved row.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from retrieval.build import BuiltIndex
from retrieval.exact import top_rows


class MovingIndex:
    """A `BuiltIndex` of n rows with room for more: `embeddings` float32 [n + room, d], written by `move`."""

    def __init__(self, built: BuiltIndex, *, room: int) -> None:
        rows = len(built.embeddings)
        empty = np.zeros((room, built.embeddings.shape[1]), np.float32)
        self.embeddings = np.concatenate([built.embeddings, empty])
        self.index, self.report = built.index, built.report
        self._built = replace(built, embeddings=self.embeddings[:rows])
        self._moved = np.zeros(rows + room, bool)
        self._rows = np.zeros(0, np.int32)  # those that moved

    def move(self, rows: np.ndarray, embeddings: np.ndarray) -> None:
        """Rows have these embeddings from now on."""
        self.embeddings[rows] = embeddings
        self._moved[rows] = True
        self._rows = np.flatnonzero(self._moved).astype(np.int32)

    def nearest(
        self, query: np.ndarray, *, k: int, allowed: np.ndarray | None, exclude: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `BuiltIndex.nearest` over all rows, those without an item excepted."""
        built, size = self._built, self.report.rows
        if not len(self._rows):
            first = None if allowed is None else allowed[:size]
            return built.nearest(query, k=k, allowed=first, exclude=exclude)
        stayed = ~self._moved[:size] if allowed is None else allowed[:size] & ~self._moved[:size]
        inside = exclude[(exclude < size)]
        inside = inside[stayed[inside]]
        rows, products = built.nearest(query, k=k, allowed=stayed, exclude=inside)
        moved = self._rows if allowed is None else self._rows[allowed[self._rows]]
        moved = moved[~np.isin(moved, exclude)]
        rows = np.concatenate([rows, moved])
        products = np.concatenate([products, np.vecdot(self.embeddings[moved], query)])
        best = top_rows(products[None], k=k)[0]
        return rows[best], products[best]
