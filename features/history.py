"""The last distinct items that a user had touched before a moment."""

from __future__ import annotations

import numpy as np

from features.asof import EventRange, Timeline

ALWAYS = np.iinfo(np.int64).max


def next_times(pair: np.ndarray, time: np.ndarray) -> np.ndarray:
    """int64 [E]: when the same pair (user and item) is next touched; ALWAYS where it never is."""
    line = Timeline(pair, time)
    ordered = pair[line.order]
    following = np.full(len(pair), ALWAYS)
    again = np.flatnonzero(ordered[1:] == ordered[:-1])
    following[line.order[again]] = line.time[again + 1]
    return following


def last_distinct(
    line: Timeline, windows: EventRange, time: np.ndarray, *, item: np.ndarray, following: np.ndarray, length: int
) -> np.ndarray:
    """int32 [Q, length]: the last distinct items of each window, oldest first, padded with -1 at the end.

    `line` sorts the touches by user; `item`, `following` (`next_times`) are [E] in the order given to it; `time` [Q].
    Walks back from each query, all queries at once; a touch counts if its item is not touched again before the query.
    """
    item, following = item[line.order], following[line.order]
    newest_first = np.full((len(time), length), -1, np.int32)
    filled = np.zeros(len(time), np.int64)
    place = windows.stop - 1
    active = np.flatnonzero(place >= windows.start)
    while len(active):
        here = place[active]
        latest = following[here] >= time[active]
        queries = active[latest]
        newest_first[queries, filled[queries]] = item[here[latest]]
        filled[queries] += 1
        place[active] = here - 1
        active = active[(filled[active] < length) & (here - 1 >= windows.start[active])]
    column = filled[:, None] - 1 - np.arange(length)
    return np.where(column >= 0, np.take_along_axis(newest_first, np.maximum(column, 0), axis=1), -1)
