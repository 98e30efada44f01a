"""Point-in-time statistics: what was known of a group strictly before a moment.

Conventions: E events have a group (int64; negative = unknown, which no query matches) and a time (int64 microseconds);
Q queries ask for a group as of a time. An event at the very time of the query is not known yet. Everything is sorting
and searching of one composite int64 key, rank of group x rank of time; no Python loop over events or queries.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NEVER = np.iinfo(np.int64).min  # the time of what has not happened


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
        by_time = np.argsort(time, kind="stable")  # nearly free where events come sorted by time
        by_group = np.argsort(group[by_time], kind="stable")
        self.order = by_time[by_group]
        self.time = np.asarray(time, np.int64)[self.order]
        self._times, time_rank = _ranks(time[by_time])
        self._groups, group_rank = _ranks(group[self.order])
        self._keys = group_rank * (len(self._times) + 1) + time_rank[by_group]
        self._starts = np.append(np.flatnonzero(np.diff(group_rank, prepend=-1)), len(group))

    def before(self, group: np.ndarray, time: np.ndarray) -> EventRange:
        """The events of `group` strictly before `time`; none of an unknown group."""
        if len(self._keys) == 0:
            return EventRange(np.zeros(len(group), np.int64), np.zeros(len(group), np.int64))
        rank = np.minimum(np.searchsorted(self._groups, group), len(self._groups) - 1)
        key = rank * (len(self._times) + 1) + np.searchsorted(self._times, time)
        start = self._starts[rank]
        known = (self._groups[rank] == group) & (group >= 0)
        stop = np.where(known, np.searchsorted(self._keys, key), start)
        return EventRange(start, stop)

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


def _ranks(ordered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct values of a sorted array, and each entry's rank among them."""
    new = np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)]
    return ordered[new], np.cumsum(new) - 1
