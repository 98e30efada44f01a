"""Page neighbours: what the towers hold nearest to the page's item."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from retrieval.build import BuiltIndex
from retrieval.candidates import Query
from retrieval.sources.two_tower_source import TwoTowerSource


class PageNeighbours:
    """Items by inner product with the embedding of the page's item, through the index; none on other pages."""

    name = "neighbours"
    knows_new = True

    def __init__(self, built: BuiltIndex) -> None:
        self._built, self._nearest = built, TwoTowerSource(built)

    def propose(self, query: Query, *, k: int) -> tuple[np.ndarray, np.ndarray]:
        """At most k items, score = inner product."""
        return self._nearest.propose(self._at_page(query), k=k)

    def score(self, query: Query, items: np.ndarray) -> np.ndarray:
        """The inner products of any items, 0 without a page's item."""
        return self._nearest.score(self._at_page(query), items)

    def _at_page(self, query: Query) -> Query:
        """The query whose place is that of the page's item."""
        return replace(query, embedding=None if query.page_item is None else self._built.embeddings[query.page_item])
