"""Popularity: what is popular now with shoppers like this one."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
from scipy import sparse

from features.interactions import Interactions
from retrieval.candidates import Query
from retrieval.decayed import DecayedCounts, RankedRows, best_allowed, first_allowed
from retrieval.segment_counts import SegmentCounts

SHARE_FLOOR = 1e-7  # the share of an item that nobody touched


class Popularity:
    """Items by their decayed share in the query's segment, drawn towards their share overall.

    score = log((count(segment, item) + prior x share(item)) / (count(segment) + prior)): an unknown segment gets
    the overall shares, an item that the segment has not touched can still be proposed.
    """

    name = "popularity"

    def __init__(
        self,
        n_items: int,
        *,
        half_life_days: float = 14.0,
        prior: float = 20.0,
        levels: tuple[int, ...] | None = None,
        name: str = "popularity",
    ) -> None:
        """`prior` in orders: how many of them a segment needs before its own shares weigh half.

        `levels`: the parts of a segment such as "Paris|mobile" that count; None = all of it.
        """
        self.name = name
        self._prior = prior
        segments = SegmentCounts(n_items, half_life_days=half_life_days, levels=levels)
        self._keep(segments, DecayedCounts(n_items, half_life_days=half_life_days))

    def update(self, events: Interactions) -> None:
        """Learn from further interactions and age the rest to their end."""
        everyone = pa.DictionaryArray.from_arrays(np.zeros(len(events.item), np.int32), pa.array(["all"]))
        self._segments.update(events)
        self._overall.update(everyone, events.item, events.time, events.weight, until=events.until)
        self._keep(self._segments, self._overall)

    def _keep(self, segments: SegmentCounts, overall: DecayedCounts) -> None:
        self._segments, self._overall = segments, overall
        self._shares = _Shares(segments.counts, overall.counts, prior=self._prior)

    def propose(self, query: Query, *, k: int) -> tuple[np.ndarray, np.ndarray]:
        """At most k items by smoothed log share."""
        items, share = first_allowed(*self._shares.ranked_overall, query, k=k)
        row = self._segments.row(query.segment)
        if row is None:
            return items, np.log(share)
        segment_items, segment_share = first_allowed(*self._shares.ranked_segments.row(row), query, k=k)
        # The segment's value of an item contains the overall one: where both lists hold it, the first is the greater.
        both, first = np.unique(np.concatenate([segment_items, items]), return_index=True)
        value = np.concatenate([segment_share, self._prior * share])[first]
        return best_allowed(both, np.log(value / (self._shares.totals[row] + self._prior)), query, k=k)

    def shares(self) -> np.ndarray:
        """float64 [n_items]: each item's decayed share of everything, whatever the segment."""
        return self._shares.share

    def score(self, query: Query, items: np.ndarray) -> np.ndarray:
        """The smoothed log share of any items, known or not."""
        row = self._segments.row(query.segment)
        if row is None:
            return np.log(self._shares.share[items] + SHARE_FLOOR)
        count = self._segments.of(query.segment, items)
        return np.log(
            (count + self._prior * self._shares.share[items]) / (self._shares.totals[row] + self._prior) + SHARE_FLOOR
        )

    def save(self, folder: Path) -> None:
        self._segments.save(folder, prior=self._prior, name=self.name)
        self._overall.save(folder / "overall.npz")

    @classmethod
    def load(cls, folder: Path) -> Popularity:
        segments, settings = SegmentCounts.load(folder)
        loaded = cls(**settings)
        loaded._keep(segments, DecayedCounts.load(folder / "overall.npz"))
        return loaded


class _Shares:
    """What follows from the counts as they are, each once it is needed."""

    def __init__(self, segments: sparse.csr_matrix, overall: sparse.csr_matrix, *, prior: float) -> None:
        self._segments, self._overall, self._prior = segments, overall, prior

    @cached_property
    def share(self) -> np.ndarray:
        counts = np.asarray(self._overall.sum(axis=0)).ravel()
        return counts / max(counts.sum(), 1e-12)

    @cached_property
    def totals(self) -> np.ndarray:
        return np.asarray(self._segments.sum(axis=1)).ravel()

    @cached_property
    def ranked_segments(self) -> RankedRows:
        smoothed = self._segments.copy()
        smoothed.data = smoothed.data + self._prior * self.share[smoothed.indices]
        return RankedRows(smoothed)

    @cached_property
    def ranked_overall(self) -> tuple[np.ndarray, np.ndarray]:
        items = np.argsort(-self.share, kind="stable")
        items = items[self.share[items] > 0]
        return items.astype(np.int32), self.share[items].astype(np.float32)
