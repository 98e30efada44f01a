"""Exact search: the reference that every approximate index is measured against, and the twin without dependencies."""

from __future__ import annotations

from pathlib import Path

import numpy as np

BLOCK = 64  # queries scored at once: bounds memory at BLOCK x rows x 4 bytes


def top_rows(scores: np.ndarray, *, k: int) -> np.ndarray:
    """Columns of the k greatest scores of each row [q, k], best first; equal scores by column."""
    if k < scores.shape[1]:
        # Sorted columns, so that the stable sort below breaks ties by column.
        best = np.sort(np.argpartition(scores, -k, axis=1)[:, -k:], axis=1)
    else:
        best = np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1, kind="stable")
    return np.take_along_axis(best, order, axis=1)


class ExactIndex:
    """Every inner product, then a partial sort."""

    kind = "exact"

    def __init__(self, embeddings: np.ndarray) -> None:
        """Float32 [n, d]."""
        self._embeddings = np.ascontiguousarray(embeddings, dtype=np.float32)

    def search(self, queries: np.ndarray, *, k: int) -> tuple[np.ndarray, np.ndarray]:
        """(rows int32 [q, k], inner products float32 [q, k]), best first; k is cut to the number of rows."""
        k = min(k, len(self._embeddings))
        rows = np.empty((len(queries), k), np.int32)
        products = np.empty((len(queries), k), np.float32)
        for start in range(0, len(queries), BLOCK):
            block = slice(start, start + BLOCK)
            scores = queries[block] @ self._embeddings.T
            rows[block] = best = top_rows(scores, k=k)
            products[block] = np.take_along_axis(scores, best, axis=1)
        return rows, products

    def wider(self) -> ExactIndex:
        """Itself: there is nothing more to search."""
        return self

    def save(self, folder: Path) -> None:
        """One NumPy file."""
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "exact.npy", self._embeddings, allow_pickle=False)

    @classmethod
    def load(cls, folder: Path) -> ExactIndex:
        return cls(np.load(folder / "exact.npy", allow_pickle=False))
