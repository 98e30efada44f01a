"""What an online store remembers of each user: the items touched, how often, and when last."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from features.asof import NEVER
from features.definitions import HISTORY
from features.touches import TOUCHES, Touches

KINDS = len(TOUCHES)


@dataclass(frozen=True, eq=False)
class UserInteractions:
    """One user's m distinct items, in increasing catalogue row, and the user's touches as a whole.

    `counts` float64 [m, kinds]; `last` int64 [m] microseconds and `sequence` int64 [m], the arrival of that touch,
    which orders touches of one time; `totals` float64 [kinds] and `touched` (NEVER = not yet) count unknown items too.
    """

    item: np.ndarray
    counts: np.ndarray
    last: np.ndarray
    sequence: np.ndarray
    totals: np.ndarray
    touched: int

    @cached_property
    def history(self) -> np.ndarray:
        """int32 [HISTORY]: items last touched, oldest first, padded with -1 at the end."""
        newest = np.lexsort((self.sequence, self.last))[-HISTORY:]
        return np.pad(self.item[newest], (0, HISTORY - len(newest)), constant_values=-1)

    @cached_property
    def touches(self) -> np.ndarray:
        """float64 [m]: touches of any kind."""
        return self.counts.sum(axis=1)

    def find(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positions [n] of catalogue rows among the user's items, and bool [n] whether they are there."""
        if len(self.item) == 0:
            return np.zeros(len(rows), np.int64), np.zeros(len(rows), bool)
        place = np.minimum(np.searchsorted(self.item, rows), len(self.item) - 1)
        return place, self.item[place] == rows

    def with_touches(
        self, item: np.ndarray, kind: np.ndarray, time: np.ndarray, sequence: np.ndarray
    ) -> UserInteractions:
        """The shopper after some more touches, in any order of time."""
        known = item >= 0
        rows, which = np.unique(np.concatenate([self.item, item[known]]), return_inverse=True)
        counts = np.zeros((len(rows), KINDS))
        counts[which[: len(self.item)]] = self.counts
        np.add.at(counts, (which[len(self.item) :], kind[known]), 1.0)
        last = np.concatenate([self.last, time[known]])
        arrived = np.concatenate([self.sequence, sequence[known]])
        newest = np.zeros(len(rows), np.int64)
        order = np.lexsort((arrived, last))
        newest[which[order]] = order  # the latest of each item is assigned last
        return UserInteractions(
            item=rows.astype(np.int32),
            counts=counts,
            last=last[newest],
            sequence=arrived[newest],
            totals=self.totals + np.bincount(kind, minlength=KINDS),
            touched=int(max(self.touched, time.max(initial=NEVER))),
        )


NOBODY = UserInteractions(
    item=np.zeros(0, np.int32),
    counts=np.zeros((0, KINDS)),
    last=np.zeros(0, np.int64),
    sequence=np.zeros(0, np.int64),
    totals=np.zeros(KINDS),
    touched=NEVER,
)


class UserMemory:
    """Every user's `UserInteractions`: a compact block that was loaded at once, and those who were touched since."""

    def __init__(self, block: dict[str, np.ndarray] | None = None) -> None:
        self._block = _empty_block() if block is None else block
        self._row = {user: row for row, user in enumerate(self._block["users"].tolist())}
        self._awake: dict[str, UserInteractions] = {}

    def get(self, user_id: str) -> UserInteractions:
        """What is remembered of the user: nothing, for one who is new."""
        found = self._awake.get(user_id)
        if found is None and user_id in self._row:
            found = self._awake[user_id] = self._asleep(self._row[user_id])
        return found or NOBODY

    def put(self, user_id: str, shopper: UserInteractions) -> None:
        self._awake[user_id] = shopper

    def block(self) -> dict[str, np.ndarray]:
        """Everybody in one block of arrays, to be saved."""
        asleep = [user for user in self._row if user not in self._awake]
        users = asleep + list(self._awake)
        everyone = [self._asleep(self._row[user]) for user in asleep] + list(self._awake.values())
        if not everyone:
            return _empty_block()
        block = {name: np.concatenate([getattr(one, name) for one in everyone]) for name in PER_ITEM}
        return block | {
            "users": np.array(users, np.str_),
            "start": np.append(0, np.cumsum([len(one.item) for one in everyone])),
            "totals": np.stack([one.totals for one in everyone]),
            "touched": np.array([one.touched for one in everyone], np.int64),
        }

    def _asleep(self, row: int) -> UserInteractions:
        block = self._block
        own = slice(block["start"][row], block["start"][row + 1])
        per_item = {name: block[name][own] for name in PER_ITEM}
        return UserInteractions(**per_item, totals=block["totals"][row], touched=int(block["touched"][row]))


PER_ITEM = ("item", "counts", "last", "sequence")


def _empty_block() -> dict[str, np.ndarray]:
    per_item = {name: getattr(NOBODY, name) for name in PER_ITEM}
    empty = {"users": np.zeros(0, np.str_), "start": np.zeros(1, np.int64), "touched": np.zeros(0, np.int64)}
    return per_item | empty | {"totals": np.zeros((0, KINDS))}


def remembered(touches: Touches) -> dict[str, np.ndarray]:
    """The block of every user's touches, without a loop over users."""
    users = len(touches.users)
    sequence = np.arange(len(touches.user))
    known = np.flatnonzero(touches.item >= 0)
    order = known[np.lexsort((sequence[known], touches.time[known], touches.item[known], touches.user[known]))]
    user, item = touches.user[order], touches.item[order]
    ends = np.flatnonzero(np.append((user[1:] != user[:-1]) | (item[1:] != item[:-1]), True)[: len(order)])
    which = np.repeat(np.arange(len(ends)), np.diff(ends, prepend=-1))
    counts = np.bincount(which * KINDS + touches.kind[order], minlength=len(ends) * KINDS).reshape(-1, KINDS)
    totals = np.bincount(touches.user * KINDS + touches.kind, minlength=users * KINDS).reshape(-1, KINDS)
    touched = np.full(users, NEVER)
    np.maximum.at(touched, touches.user, touches.time)
    return {
        "users": np.array(touches.users.to_pylist(), np.str_),
        "start": np.searchsorted(user[ends], np.arange(users + 1)),
        "item": item[ends],
        "counts": counts.astype(np.float64),
        "last": touches.time[order[ends]],
        "sequence": sequence[order[ends]],
        "totals": totals.astype(np.float64),
        "touched": touched,
    }
