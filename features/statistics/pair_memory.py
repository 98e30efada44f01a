"""Pairs of items by visit: in how many visits both were touched, in batch and as a memory of a stream.

A visit counts a pair once, from the later of the two first touches on; the first MOST distinct items of a visit count,
by the time of their first touch: an event that comes late may put out the last of them, whose pairs are taken back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa

from features.interactions import Interactions
from features.statistics.keyed_memory import Entity, NamedRows, PairCounts
from features.statistics.keyed_rows import KeyedRows, NamedTable

MOST = 50  # items of a visit
FRESH = 4096  # pairs kept aside before they are merged into the table


@dataclass(frozen=True, eq=False)
class VisitOrder:
    """The distinct items of visits, by visit and first touch: `visit` int64, `item` int32, `time` int64, `rank` in the
    visit, 0 = first."""

    visit: np.ndarray
    item: np.ndarray
    time: np.ndarray
    rank: np.ndarray


def visit_order(visit: np.ndarray, item: np.ndarray, time: np.ndarray) -> VisitOrder:
    """Of touches; equal times by item."""
    order = np.lexsort((time, item, visit))
    first = order[np.append(True, (np.diff(visit[order]) != 0) | (np.diff(item[order]) != 0))[: len(order)]]
    first = first[np.lexsort((item[first], time[first], visit[first]))]
    start = np.flatnonzero(np.append(True, np.diff(visit[first]) != 0)[: len(first)])
    rank = np.arange(len(first)) - np.repeat(start, np.diff(np.append(start, len(first))))
    kept = first[rank < MOST]
    return VisitOrder(visit[kept], item[kept], time[kept], rank[rank < MOST])


def pairs_of(visits: VisitOrder) -> tuple[np.ndarray, np.ndarray]:
    """(later, earlier) rows of every pair of a visit's items."""
    later, earlier = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for lag in range(1, MOST):
        rows = np.flatnonzero(visits.rank >= lag)
        if not len(rows):
            break
        later.append(rows)
        earlier.append(rows - lag)
    return np.concatenate(later), np.concatenate(earlier)


class PairMemory:
    """Online: the items of each visit so far with their first touches, and the number of visits by pair, sorted by code
    min x n + max."""

    SAVED: ClassVar[tuple[str, ...]] = ("codes", "counts", "sessions", "lengths", "items", "times", "size")

    def __init__(self, n_items: int) -> None:
        self._size = np.int64(n_items)
        self._visits = NamedTable({"item": np.int32, "time": np.int64})
        self._table = self._fresh = (np.zeros(0, np.int64), np.zeros(0, np.int64))

    def update(self, events: Interactions) -> None:
        """Remember touches of known items in known visits."""
        if not len(events):
            return
        codes, visit = np.unique(events.sessions, return_inverse=True)
        names = events.session.dictionary.take(pa.array(codes)).to_pylist()
        known = self._visits.take(names)
        rank = np.arange(len(known.owner)) - known.starts[known.owner]
        before = VisitOrder(known.owner, known.columns["item"], known.columns["time"], rank)
        after = visit_order(
            np.append(before.visit, visit),
            np.append(before.item, events.item).astype(np.int32),
            np.append(before.time, events.time),
        )
        self._count(self._pairs_beyond(after, before), self._pairs_beyond(before, after))
        lengths = np.bincount(after.visit, minlength=len(names))
        self._visits.replace(names, KeyedRows(lengths, {"item": after.item, "time": after.time}))

    def of(self, codes: np.ndarray) -> np.ndarray:
        """float64 [m]: the visits of each pair; 0 for -1."""
        return _looked_up(self._table, codes) + _looked_up(self._fresh, codes)

    @property
    def visits(self) -> NamedRows:
        """The items of each visit, as a keyed memory."""
        return NamedRows.of(Entity.VISIT, lambda: self._visits, bound=f"{MOST} items")

    @property
    def pairs(self) -> PairCounts:
        """The visits of each pair, as a keyed memory."""
        return PairCounts(self._pairs, self._put_pairs)

    def _pairs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        codes, counts = _merged(self._table, self._fresh)
        lower, upper = np.divmod(codes, self._size)
        return lower.astype(np.int32), upper.astype(np.int32), counts

    def _put_pairs(self, lower: np.ndarray, upper: np.ndarray, counts: np.ndarray) -> None:
        nothing = np.zeros(0, np.int64)
        self._table = _merged((lower * self._size + upper, counts), (nothing, nothing))
        self._fresh = nothing, nothing

    def saved(self) -> Iterator[tuple[str, np.ndarray]]:
        codes, counts = _merged(self._table, self._fresh)
        names = self._visits.names()
        visits, sessions, size = self._visits.take(names), np.array(names, np.str_), np.array(self._size)
        values = (codes, counts, sessions, visits.lengths, visits.columns["item"], visits.columns["time"], size)
        yield from zip(self.SAVED, values, strict=True)

    def restore(self, saved: dict[str, np.ndarray]) -> None:
        """`size` is the number of rows of the catalogue that it was saved over: this one may have more room."""
        lower, upper = np.divmod(saved["codes"], saved["size"])
        self._table = (lower * self._size + upper, saved["counts"])
        self._fresh = (np.zeros(0, np.int64), np.zeros(0, np.int64))
        places = np.arange(-len(saved["items"]), 0) + np.iinfo(np.int64).min // 2  # of stores that kept no times
        visits = KeyedRows(saved["lengths"], {"item": saved["items"], "time": saved.get("times", places)})
        self._visits.put(saved["sessions"].tolist(), visits)

    def _pairs_beyond(self, visits: VisitOrder, others: VisitOrder) -> np.ndarray:
        """int64: codes of the pairs of `visits`, of which `others` lack an item."""
        lacking = ~np.isin(*(one.visit * self._size + one.item for one in (visits, others)))
        if not lacking.any():
            return np.zeros(0, np.int64)
        later, earlier = pairs_of(visits)
        some = lacking[later] | lacking[earlier]
        one, other = visits.item[later[some]], visits.item[earlier[some]]
        return np.minimum(one, other) * self._size + np.maximum(one, other)

    def _count(self, codes: np.ndarray, taken_back: np.ndarray) -> None:
        signs = np.repeat([1, -1], [len(codes), len(taken_back)])
        self._fresh = _merged(self._fresh, (np.append(codes, taken_back), signs))
        if len(self._fresh[0]) > FRESH:
            self._table = _merged(self._table, self._fresh)
            self._fresh = (np.zeros(0, np.int64), np.zeros(0, np.int64))


Counted = tuple[np.ndarray, np.ndarray]  # sorted codes, and the visits of each; int64


def _merged(one: Counted, other: Counted) -> Counted:
    codes, place = np.unique(np.append(one[0], other[0]), return_inverse=True)
    counts = np.bincount(place, np.append(one[1], other[1]), minlength=len(codes)).astype(np.int64)
    return codes[counts != 0], counts[counts != 0]


def _looked_up(counted: Counted, codes: np.ndarray) -> np.ndarray:
    known, counts = counted
    if not len(known):
        return np.zeros(len(codes))
    place = np.minimum(np.searchsorted(known, codes), len(known) - 1)
    return np.where(known[place] == codes, counts[place], 0).astype(np.float64)
