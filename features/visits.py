"""What happened earlier in the visit, and what other visits touched together.

Conventions: E touches have a visit (int64 code), an item (int64 catalogue row, -1 = unknown) and a time; N asked rows
have the same. Only touches strictly before the asked time count.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from features.asof import NEVER, Timeline
from features.touches import pair

LARGEST = 40  # items: a visit that touched more says little about any two of them


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of touches, or asked rows."""

    visit: np.ndarray
    item: np.ndarray
    time: np.ndarray


def in_visit(asked: Rows, touches: Rows, *, items: int) -> dict[str, np.ndarray]:
    """float64 [N]: touches of the item in the visit, their share of the visit's, touches since the last of them."""
    item = Timeline(pair(touches.visit, touches.item, size=items), touches.time)
    own = item.before(pair(asked.visit, asked.item, size=items), asked.time)
    visit = Timeline(touches.visit, touches.time)
    total = visit.before(asked.visit, asked.time)
    last = item.last(own)
    touched = (own.count > 0) & (asked.item >= 0)
    until = visit.before(asked.visit, np.where(last == NEVER, asked.time, last))
    count = np.where(touched, own.count, 0).astype(np.float64)
    return {
        "visit_touches": count,
        "visit_share": count / np.maximum(total.count, 1),
        "visit_touches_since": np.where(touched, total.stop - until.stop, np.nan),
    }


def co_visits(asked: Rows, touches: Rows, *, history: np.ndarray, items: int) -> np.ndarray:
    """float64 [N]: how often visits touched the row's item with one of the user's history (int32 [N, L], -1 = none).

    Sum over the history's items h of visits(h and item) / sqrt(pairs that visits made of h), as of the asked time. A
    visit counts from its first touch of both items on.
    """
    first, second, time = _pairs(touches, items=items)
    together = Timeline(pair(first, second, size=items), time)
    alone = Timeline(first, time)
    result = np.zeros(len(asked.item))
    for column in history.T.astype(np.int64):
        rows = np.flatnonzero((column >= 0) & (column != asked.item) & (asked.item >= 0))
        now, other = asked.time[rows], column[rows]
        joint = together.before(pair(other, asked.item[rows], size=items), now).count
        result[rows] += joint / np.sqrt(np.maximum(alone.before(other, now).count, 1))
    return result


def _pairs(touches: Rows, *, items: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ordered pairs of distinct items touched in one visit, and the time from which both were."""
    known = np.flatnonzero(touches.item >= 0)
    order = known[np.lexsort((touches.time[known], touches.item[known], touches.visit[known]))]
    key = pair(touches.visit[order], touches.item[order], size=items)
    order = order[np.append(True, key[1:] != key[:-1])[: len(order)]]
    visit, item, time = touches.visit[order], touches.item[order], touches.time[order]
    starts = np.flatnonzero(np.append(True, visit[1:] != visit[:-1])[: len(visit)])
    size = np.diff(np.append(starts, len(visit)))
    left, right = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for m in range(2, LARGEST + 1):  # all visits of one size at once
        grid = starts[size == m][:, None] + np.arange(m)
        a, b = np.repeat(grid, m, axis=1).ravel(), np.tile(grid, (1, m)).ravel()
        left.append(a[a != b])
        right.append(b[a != b])
    a, b = np.concatenate(left), np.concatenate(right)
    return item[a], item[b], np.maximum(time[a], time[b])
