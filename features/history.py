"""History: the last distinct items that a user had touched before a moment, step by step.

Conventions: E touches, Q moments, L steps, oldest first, padded at the end. A step is an item; it stands where it was
touched last, with the furthest action so far (index of `interactions.KINDS`). Touches of one time keep the order in
which they arrived.
"""

from __future__ import annotations

import numpy as np

from features.asof import EventRange, Timeline

ALWAYS = np.iinfo(np.int64).max


def next_times(pair: np.ndarray, line: Timeline) -> np.ndarray:
    """int64 [E]: when the same pair (user and item) is next touched; ALWAYS where it never is. `line` sorts by pair."""
    ordered = pair[line.order]
    following = np.full(len(pair), ALWAYS)
    again = np.flatnonzero(ordered[1:] == ordered[:-1])
    following[line.order[again]] = line.time[again + 1]
    return following


def furthest(pair: np.ndarray, line: Timeline, kind: np.ndarray) -> np.ndarray:
    """int64 [E]: the greatest `kind` (int64 [E]) of the pair's touches up to and with each. `line` sorts by pair."""
    ordered = pair[line.order]
    group = np.cumsum(np.append(False, ordered[1:] != ordered[:-1])[: len(pair)])
    step = kind.max(initial=0) + 1  # a later group begins above all of an earlier one
    reached = np.empty(len(pair), np.int64)
    reached[line.order] = np.maximum.accumulate(group * step + kind[line.order]) - group * step
    return reached


def last_distinct(
    line: Timeline, windows: EventRange, time: np.ndarray, *, following: np.ndarray, length: int
) -> np.ndarray:
    """int64 [Q, length]: the last touch of each of the last distinct items of each window, padded with -1.

    `line` sorts the touches by user; `following` (`next_times`) is [E] in the order given to it, as the touches are
    numbered; `time` [Q]. Walks back from each query, all queries at once; a touch counts if its item is not touched
    again before the query.
    """
    following = following[line.order]
    newest_first = np.full((len(time), length), -1)
    filled = np.zeros(len(time), np.int64)
    place = windows.stop - 1
    active = np.flatnonzero(place >= windows.start)
    while len(active):
        here = place[active]
        latest = following[here] >= time[active]
        queries = active[latest]
        newest_first[queries, filled[queries]] = line.order[here[latest]]
        filled[queries] += 1
        place[active] = here - 1
        active = active[(filled[active] < length) & (here - 1 >= windows.start[active])]
    column = filled[:, None] - 1 - np.arange(length)
    return np.where(column >= 0, np.take_along_axis(newest_first, np.maximum(column, 0), axis=1), -1)
