"""Two-tower candidate source: what the towers hold nearest to the query."""

from __future__ import annotations

import numpy as np

from retrieval.build import BuiltIndex
from retrieval.candidates import Query


class TwoTowerSource:
    """Items by inner product with the query's embedding, through the index; none where there is no embedding."""

    name = "nearest"
    knows_new = True

    def __init__(self, built: BuiltIndex) -> None:
        self._built = built

    def propose(self, query: Query, *, k: int) -> tuple[np.ndarray, np.ndarray]:
        """At most k items, score = inner product."""
        if query.embedding is None:
            return np.empty(0, np.int32), np.empty(0, np.float32)
        return self._built.nearest(query.embedding, k=k, allowed=query.allowed, exclude=query.exclude)

    def score(self, query: Query, items: np.ndarray) -> np.ndarray:
        """The inner products of any items, 0 where the query has no embedding."""
        if query.embedding is None:
            return np.zeros(len(items), np.float32)
        return self._built.embeddings[items] @ query.embedding
