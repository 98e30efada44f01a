"""Point-in-time statistics: what was known of a group strictly before a moment.

Conventions: E events have a group (int64; negative = unknown, which no query matches) and a time (int64 microseconds);
Q queries ask for a group as of a time. An event at the very time of the query is not known yet. Everything is sorting
and searching of one composite int64 key, rank of group x time (its rank where the product is too large); no Python loop
over events or queries.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np

NEVER = np.iinfo(np.int64).min  # the time of what has not happened
MANY, BLOCK = 10_000, 1_000_000  # queries that are worth sorting, and of a thread


@dataclass(frozen=True)
class EventRange:
    """The events of each query: positions start..stop (exclusive) in the timeline's order; int64 [Q] each."""

    start: np.ndarray
    stop: np.ndarray

    @property
    def count(self) -> np.ndarray:
        return self.stop - self.start


class Timeline:
    """Events sorted by group and time; events of one group and time keep the order given."""

    def __init__(self, group: np.ndarray, time: np.ndarray) -> None:
        group, time = np.asarray(group, np.int64), np.asarray(time, np.int64)
        if not _is_sorted(time):
            by_time = np.argsort(time, kind="stable")
            self.order = by_time[_order(group[by_time])]
        else:
            self.order = _order(group)
        self.time = time[self.order]
        self._groups, rank = _ranks(group[self.order])
        self._starts = np.append(np.flatnonzero(np.diff(rank, prepend=-1)), len(group))
        self._first = int(self.time.min()) if len(time) else 0
        self._span = int(self.time.max()) - self._first + 2 if len(time) else 2
        self._times = None if len(self._groups) * self._span < 2**63 else np.unique(time)
        if self._times is not None:
            self._span = len(self._times) + 1
        self._keys = rank * self._span + self._of_times(self.time)

    def before(self, group: np.ndarray, time: np.ndarray) -> EventRange:
        """The events of `group` strictly before `time`; none of an unknown group."""
        if len(self._keys) == 0:
            return EventRange(np.zeros(len(group), np.int64), np.zeros(len(group), np.int64))
        start, stop = np.empty(len(group), np.int64), np.empty(len(group), np.int64)

        def fill(rows: slice) -> None:
            rank, known = self._rank(group[rows])
            key = rank * self._span + self._of_times(time[rows])
            start[rows] = self._starts[rank]
            stop[rows] = np.where(known, _places(key, self._keys), start[rows])

        _in_blocks(fill, len(group))
        return EventRange(start, stop)

    def _rank(self, group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of each query's group among those of the events, and whether it is one of them."""
        if self._table is None:
            rank = np.minimum(np.searchsorted(self._groups, group), len(self._groups) - 1)
        else:
            rank = self._table[np.clip(group - self._groups[0], 0, len(self._table) - 1)]
        return rank, (self._groups[rank] == group) & (group >= 0)

    @cached_property
    def _table(self) -> np.ndarray | None:
        """The rank of each group from the first to the last, where these are not much more than there are events."""
        size = int(self._groups[-1]) - int(self._groups[0]) + 1
        if size > 4 * len(self._keys) + 2**16:
            return None
        table = np.zeros(size, np.int64)
        table[self._groups - self._groups[0]] = np.arange(len(self._groups))
        return table

    def _of_times(self, time: np.ndarray) -> np.ndarray:
        """int64: times as keys have them, in [0, span): how many, or how much, of the events' times lies before."""
        if self._times is not None:
            return np.searchsorted(self._times, time)
        return np.clip(time, self._first, self._first + self._span - 1) - self._first

    def within(self, group: np.ndarray, time: np.ndarray, *, span: int) -> EventRange:
        """The events of `group` in [time - span, time)."""
        return EventRange(self.before(group, time - span).stop, self.before(group, time).stop)

    def sums(self, windows: EventRange, values: np.ndarray) -> np.ndarray:
        """float64 [Q]: sum of the known events' values ([E], in the order given to the timeline).

        Whole numbers are exact; others are added up within their group alone, so that no other group's events show.
        """
        if np.issubdtype(np.asarray(values).dtype, np.floating):
            return self.decayed(windows, values, np.zeros(len(windows.stop), np.int64), half_life=np.inf)
        total = np.append(0, np.cumsum(np.asarray(values, np.int64)[self.order]))
        return (total[windows.stop] - total[windows.start]).astype(np.float64)

    def last(self, windows: EventRange) -> np.ndarray:
        """int64 [Q]: time of the latest known event, NEVER without one."""
        if len(self.time) == 0:
            return np.full(len(windows.stop), NEVER)
        return np.where(windows.count > 0, self.time[np.maximum(windows.stop - 1, 0)], NEVER)

    def latest(self, windows: EventRange, values: np.ndarray) -> np.ndarray:
        """float64 [Q]: `values` ([E], in the timeline's first order) of the latest known event, NaN without one."""
        if len(self.time) == 0:
            return np.full(len(windows.stop), np.nan)
        ordered, latest = np.asarray(values, np.float64)[self.order], np.empty(len(windows.stop))

        def fill(rows: slice) -> None:
            stop = windows.stop[rows]
            latest[rows] = np.where(stop > windows.start[rows], ordered[np.maximum(stop - 1, 0)], np.nan)

        _in_blocks(fill, len(latest))
        return latest

    def decayed(self, windows: EventRange, weights: np.ndarray, time: np.ndarray, *, half_life: float) -> np.ndarray:
        """float64 [Q]: sum of weight x 2^-(age / half_life) over the known events; `half_life` in microseconds."""
        if len(self.time) == 0:
            return np.zeros(len(windows.stop))
        at_event = self.decayed_at_events(weights, half_life=half_life)
        last = np.maximum(windows.stop - 1, 0)
        age = np.where(windows.count > 0, time - self.time[last], 0)
        return np.where(windows.count > 0, at_event[last] * np.exp2(-age / half_life), 0.0)

    def decayed_at_events(self, weights: np.ndarray, *, half_life: float) -> np.ndarray:
        """float64 [E], in the timeline's order: the decayed sum of a group up to and including each event.

        A parallel prefix sum (Hillis & Steele 1986): after pass k each value covers 2^k events. Only positive terms
        of one group are added, so that nothing cancels however many half-lives the events span.
        """
        value = np.asarray(weights, np.float64)[self.order].copy()
        place = np.arange(len(value)) - np.repeat(self._starts[:-1], np.diff(self._starts))
        reach = 1
        rows = np.flatnonzero(place >= reach)
        while len(rows):
            age = self.time[rows] - self.time[rows - reach]
            value[rows] = value[rows] + value[rows - reach] * np.exp2(-age / half_life)
            reach *= 2
            rows = rows[place[rows] >= reach]
        return value

    @property
    def group_ends(self) -> np.ndarray:
        """int64 [groups]: position of each group's latest event, groups in increasing order."""
        return self._starts[1:] - 1


def _in_blocks(fill: Callable[[slice], None], queries: int) -> None:
    """Fill what is answered of BLOCK queries at a time, on every core."""
    blocks = [slice(at, at + BLOCK) for at in range(0, queries, BLOCK)]
    if len(blocks) < 2:
        return fill(slice(None))
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        list(threads.map(fill, blocks))


def _is_sorted(values: np.ndarray) -> bool:
    return bool((values[1:] >= values[:-1]).all())


def _order(codes: np.ndarray) -> np.ndarray:
    """A stable argsort, 16 bits at a time where the codes allow it: NumPy sorts these by radix."""
    low = int(codes.min(initial=0))
    size = int(codes.max(initial=0)) - low
    if size >= 2**32:
        return np.argsort(codes, kind="stable")
    digits = (codes - low).astype(np.uint32)
    order = np.argsort((digits & 0xFFFF).astype(np.uint16), kind="stable")
    if size < 2**16:
        return order
    return order[np.argsort((digits >> 16).astype(np.uint16)[order], kind="stable")]


def _places(keys: np.ndarray, ordered: np.ndarray) -> np.ndarray:
    """int64: how many of `ordered` are smaller than each key; many are searched in their order, which memory likes."""
    if len(keys) < MANY:
        return np.searchsorted(ordered, keys)
    order, places = np.argsort(keys), np.empty(len(keys), np.int64)
    places[order] = np.searchsorted(ordered, keys[order])
    return places


def _ranks(ordered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct values of a sorted array, and each entry's rank among them."""
    new = np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)]
    return ordered[new], np.cumsum(new) - 1
