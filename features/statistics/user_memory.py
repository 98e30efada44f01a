"""Online memory of users' items: which the user touched, how often by kind, and when last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from features.interactions import KINDS, Interactions
from features.spec import HISTORY

PER_ITEM = ("item", "counts", "last", "sequence")


@dataclass(frozen=True, eq=False)
class UserInteractions:
    """One user's m distinct items, in increasing catalogue row.

    `counts` float64 [m, kinds]; `last` int64 [m] microseconds and `sequence` int64 [m], the arrival of that event,
    which orders events of one time.
    """

    item: np.ndarray
    counts: np.ndarray
    last: np.ndarray
    sequence: np.ndarray

    @cached_property
    def history(self) -> np.ndarray:
        """int32 [HISTORY]: items last touched, oldest first, padded with -1 at the end."""
        newest = np.lexsort((self.sequence, self.last))[-HISTORY:]
        return np.pad(self.item[newest], (0, HISTORY - len(newest)), constant_values=-1)

    @cached_property
    def events(self) -> np.ndarray:
        """float64 [m]: events of any kind."""
        return self.counts.sum(axis=1)

    def find(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positions [n] of catalogue rows among the user's items, and bool [n] whether they are among them."""
        if len(self.item) == 0:
            return np.zeros(len(rows), np.int64), np.zeros(len(rows), bool)
        place = np.minimum(np.searchsorted(self.item, rows), len(self.item) - 1)
        return place, self.item[place] == rows

    def plus(self, item: np.ndarray, kind: np.ndarray, time: np.ndarray, sequence: np.ndarray) -> UserInteractions:
        """The same user after more events, in any order of time."""
        rows, which = np.unique(np.concatenate([self.item, item]), return_inverse=True)
        counts = np.zeros((len(rows), len(KINDS)))
        counts[which[: len(self.item)]] = self.counts
        np.add.at(counts, (which[len(self.item) :], kind), 1.0)
        last = np.concatenate([self.last, time])
        arrived = np.concatenate([self.sequence, sequence])
        newest = np.zeros(len(rows), np.int64)
        order = np.lexsort((arrived, last))
        newest[which[order]] = order  # the latest of each item is assigned last
        return UserInteractions(rows.astype(np.int32), counts, last[newest], arrived[newest])


NOBODY = UserInteractions(
    np.zeros(0, np.int32), np.zeros((0, len(KINDS))), np.zeros(0, np.int64), np.zeros(0, np.int64)
)


class UserMemory:
    """Every user's `UserInteractions`: a compact block that was loaded at once, and those who acted since."""

    def __init__(self, block: Mapping[str, np.ndarray] | None = None) -> None:
        self._block = _block({}) if block is None else dict(block)
        self._row = {user: row for row, user in enumerate(self._block["users"].tolist())}
        self._awake: dict[str, UserInteractions] = {}

    def __len__(self) -> int:
        return len(self._row) + len(self._awake)

    def get(self, user_id: str) -> UserInteractions:
        """What is remembered of the user: nothing, for one who is new."""
        if user_id not in self._awake and user_id in self._row:
            self._awake[user_id] = self._asleep(self._row[user_id])
        return self._awake.get(user_id, NOBODY)

    def put(self, user_id: str, one: UserInteractions) -> None:
        self._awake[user_id] = one

    def block(self) -> dict[str, np.ndarray]:
        """Everybody in one block of arrays, to be saved: `users`, where each one's rows `start`, and PER_ITEM."""
        asleep = {user: self._asleep(row) for user, row in self._row.items() if user not in self._awake}
        return _block(asleep | self._awake)

    def _asleep(self, row: int) -> UserInteractions:
        rows = slice(self._block["start"][row], self._block["start"][row + 1])
        return UserInteractions(**{name: self._block[name][rows] for name in PER_ITEM})


def _block(everyone: Mapping[str, UserInteractions]) -> dict[str, np.ndarray]:
    lengths = [len(one.item) for one in everyone.values()]
    columns = {name: np.concatenate([getattr(one, name) for one in (NOBODY, *everyone.values())]) for name in PER_ITEM}
    start = np.append(0, np.cumsum(lengths, dtype=np.int64))
    return columns | {"users": np.array(list(everyone), np.str_), "start": start}


def block_of(events: Interactions) -> dict[str, np.ndarray]:
    """The block of all events about known items, without a loop over users."""
    names, kinds = events.user.dictionary, len(KINDS)
    sequence = np.arange(len(events))
    known = np.flatnonzero(events.item >= 0)
    order = known[np.lexsort((sequence[known], events.time[known], events.item[known], events.users[known]))]
    user, item = events.users[order], events.item[order]
    ends = np.flatnonzero(np.append((user[1:] != user[:-1]) | (item[1:] != item[:-1]), True)[: len(order)])
    which = np.repeat(np.arange(len(ends)), np.diff(ends, prepend=-1))
    counts = np.bincount(which * kinds + events.kind[order], minlength=len(ends) * kinds).reshape(-1, kinds)
    return {
        "users": np.array(names.to_pylist(), np.str_),
        "start": np.searchsorted(user[ends], np.arange(len(names) + 1)),
        "item": item[ends],
        "counts": counts.astype(np.float64),
        "last": events.time[order[ends]],
        "sequence": sequence[order[ends]],
    }
