"""Exact search: the reference that every approximate index is measured against, and the twin without dependencies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from retrieval.stored_vectors import StoredVectors

READ_BACK = 16_384  # stored rows turned into float32 at once
BLOCK = 64  # queries scored at once, as long as their scores are no more than
SCORES = 2**26  # which bounds memory at 256 MiB, or one query's
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

    def __init__(self, embeddings: np.ndarray | StoredVectors) -> None:
        """Float32 [n, d], or those vectors as they are stored."""
        stored = embeddings if isinstance(embeddings, StoredVectors) else None
        self._stored = stored or StoredVectors.of(np.asarray(embeddings), storage="float32")
        longest = (np.vecdot(rows, rows).max(initial=0.0) for rows in self._parts())
        self._longest = float(np.sqrt(max(longest, default=0.0)))

    @property
    def parameters(self) -> dict[str, float | str]:
        """There is nothing to set."""
        return {}

    def efforts(self) -> list[list[ExactIndex]]:
        """Itself: there is one way to search it."""
        return [[self]]

    def search(self, queries: np.ndarray, *, k: int) -> tuple[np.ndarray, np.ndarray]:
        """(rows int32 [q, k], inner products float32 [q, k]), best first; k is cut to the number of rows."""
        k = min(k, len(self._stored))
        rows = np.empty((len(queries), k), np.int32)
        products = np.empty((len(queries), k), np.float32)
        queries = np.asarray(queries, np.float32)
        size = max(1, min(BLOCK, SCORES // max(len(self._stored), 1)))
        for start in range(0, len(queries), size):
            for at, scores in enumerate(self._products(queries[start : start + size]), start):
                rows[at], products[at] = self._best(queries[at], scores, k)
        return rows, products

    def _parts(self) -> Iterator[np.ndarray]:
        """float32 [m, d] each: a part at a time where they have to be read back, all of them else."""
        rows = len(self._stored)
        size = rows if self._stored.values.dtype == np.float32 else READ_BACK
        for start in range(0, rows, max(size, 1)):
            yield self._stored.rows(slice(start, start + size))

    def _products(self, queries: np.ndarray) -> np.ndarray:
        """float32 [q, n]."""
        parts = [queries @ rows.T for rows in self._parts()]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    def _best(self, query: np.ndarray, scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k best of all rows, from products that do not depend on where in a matrix a row lies."""
        last = np.partition(scores, -k)[-k]
        near = np.flatnonzero(scores >= last - ROUNDING * self._longest * np.sqrt(query @ query))
        products = np.vecdot(self._stored.rows(near), query)
        best = top_rows(products[None], k=k)[0]
        return near[best], products[best]

    def wider(self) -> ExactIndex:
        """Itself: there is nothing more to search."""
        return self

    def save(self, folder: Path) -> None:
        """The vectors, unless they are the float32 ones that lie beside an index anyway."""
        if self._stored.values.dtype != np.float32:
            self._stored.save(folder)

    @classmethod
    def load(cls, folder: Path, embeddings: np.ndarray) -> ExactIndex:
        """`embeddings` float32 [n, d]: those beside the index."""
        stored = (folder / "exact.npy").exists()
        return cls(StoredVectors.load(folder) if stored else embeddings)
