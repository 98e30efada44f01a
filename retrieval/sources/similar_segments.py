"""Similar segments: what is popular with segments that like the same items: neighbouring cities, kindred groups."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
from scipy import sparse

from features.interactions import Interactions
from retrieval.candidates import Query
from retrieval.decayed import RankedRows, best_allowed, log_of_known
from retrieval.segment_counts import SegmentCounts

SHARE_FLOOR = 1e-6


class SimilarSegments:
    """score = log sum over related segments s' of similarity(s, s') x share(item in s').

    similarity = cosine of the segments' decayed item counts, of the `neighbours` most similar others; segments that
    share no item with any other get none.
    """

    name = "related"

    def __init__(
        self,
        n_items: int,
        *,
        half_life_days: float = 14.0,
        neighbours: int = 10,
        each_most: int = 200,
        levels: tuple[int, ...] | None = None,
    ) -> None:
        """`levels`: the parts of a segment that count, as in `Popularity`."""
        self._neighbours = neighbours
        self._each_most = each_most
        self._keep(SegmentCounts(n_items, half_life_days=half_life_days, levels=levels))

    def update(self, events: Interactions) -> None:
        """Learn from further interactions and age the rest to their end."""
        self._segments.update(events)
        self._keep(self._segments)

    def _keep(self, segments: SegmentCounts) -> None:
        self._segments = segments
        self._related = _RelatedSegments(segments.counts, neighbours=self._neighbours, each_most=self._each_most)

    def propose(self, query: Query, *, k: int) -> tuple[np.ndarray, np.ndarray]:
        """At most k items of the related segments."""
        items, total = self._totals(query)
        return best_allowed(items, np.log(total + SHARE_FLOOR), query, k=k)

    def score(self, query: Query, items: np.ndarray) -> np.ndarray:
        """The score of any items; those that no related segment likes much get the floor."""
        return log_of_known(items, *self._totals(query), floor=SHARE_FLOOR)

    def _totals(self, query: Query) -> tuple[np.ndarray, np.ndarray]:
        row = self._segments.row(query.segment)
        if row is None:
            return np.empty(0, np.int32), np.empty(0)
        segments, similarity = self._related.similar.row(row)
        place, items, share = self._related.ranked.rows(segments, most=self._each_most)
        liked, inverse = np.unique(items, return_inverse=True)
        return liked, np.bincount(inverse, similarity[place] * share, minlength=len(liked))

    def save(self, folder: Path) -> None:
        self._segments.save(folder, neighbours=self._neighbours, each_most=self._each_most)

    @classmethod
    def load(cls, folder: Path) -> SimilarSegments:
        segments, settings = SegmentCounts.load(folder)
        loaded = cls(**settings)
        loaded._keep(segments)
        return loaded


class _RelatedSegments:
    """What follows from the counts as they are, each once it is needed."""

    def __init__(self, counts: sparse.csr_matrix, *, neighbours: int, each_most: int) -> None:
        self._counts, self._neighbours, self._each_most = counts, neighbours, each_most

    @cached_property
    def similar(self) -> RankedRows:
        counts = self._counts
        length = np.sqrt(np.asarray(counts.multiply(counts).sum(axis=1)).ravel())
        unit = sparse.diags(1 / np.maximum(length, 1e-12)) @ counts
        cosine = (unit @ unit.T).tocsr()
        cosine.setdiag(0)
        cosine.eliminate_zeros()
        return RankedRows(cosine, keep=self._neighbours)

    @cached_property
    def shares(self) -> sparse.csr_matrix:
        counts = self._counts
        total = np.asarray(counts.sum(axis=1)).ravel()
        return (sparse.diags(1 / np.maximum(total, 1e-12)) @ counts).tocsr()

    @cached_property
    def ranked(self) -> RankedRows:
        return RankedRows(self.shares, keep=self._each_most)
