"""Exact search: the reference that every approximate index is measured against, and the twin without dependencies."""

from __future__ import annotations

from pathlib import Path

import numpy as np

BLOCK = 64  # queries scored at once: bounds memory at BLOCK x rows x 4 bytes
ROUNDING = 4e-6  # of |query| |embedding|: how far a float32 product of a matrix can lie from that of two vectors


def top_rows(scores: np.ndarray, *, k: int) -> np.ndarray:
    """Columns of the k greatest scores of each row [q, k], best first; equal scores by column."""
    if k >= scores.shape[1]:
        return np.argsort(-scores, axis=1, kind="stable")
    # Sorted columns, so that the stable sort below breaks ties by column.
    best = np.sort(np.argpartition(scores, -k, axis=1)[:, -k:], axis=1)
    chosen = np.take_along_axis(scores, best, axis=1)
    result = np.take_along_axis(best, np.argsort(-chosen, axis=1, kind="stable"), axis=1)
    # A partition takes any of the columns that tie for the last place.
    tied = np.count_nonzero(scores >= chosen.min(axis=1, keepdims=True), axis=1) > k
    result[tied] = np.argsort(-scores[tied], axis=1, kind="stable")[:, :k]
    return result


class ExactIndex:
    """Every inner product, then a partial sort; equal embeddings come by row, for one query as for many."""

    kind = "exact"

    def __init__(self, embeddings: np.ndarray) -> None:
        """Float32 [n, d]."""
        self._embeddings = np.ascontiguousarray(embeddings, dtype=np.float32)
        self._longest = float(np.sqrt(np.vecdot(self._embeddings, self._embeddings).max(initial=0.0)))

    def search(self, queries: np.ndarray, *, k: int) -> tuple[np.ndarray, np.ndarray]:
        """(rows int32 [q, k], inner products float32 [q, k]), best first; k is cut to the number of rows."""
        k = min(k, len(self._embeddings))
        rows = np.empty((len(queries), k), np.int32)
        products = np.empty((len(queries), k), np.float32)
        queries = np.asarray(queries, np.float32)
        for start in range(0, len(queries), BLOCK):
            block = queries[start : start + BLOCK]
            for at, scores in enumerate(block @ self._embeddings.T, start):
                rows[at], products[at] = self._best(queries[at], scores, k)
        return rows, products

    def _best(self, query: np.ndarray, scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k best of all rows, from products that do not depend on where in a matrix a row lies."""
        last = np.partition(scores, -k)[-k]
        near = np.flatnonzero(scores >= last - ROUNDING * self._longest * np.sqrt(query @ query))
        products = np.vecdot(self._embeddings[near], query)
        best = top_rows(products[None], k=k)[0]
        return near[best], products[best]

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
