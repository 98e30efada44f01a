"""Online memory of users' items: which the user touched, how often by kind, and when last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from features.asof import NEVER
from features.interactions import KINDS, Interactions
from features.spec import HISTORY
from features.statistics.keyed_memory import Rows

DTYPES = {
    "item": np.dtype(np.int32),
    "counts": np.dtype((np.float64, len(KINDS))),
    "last": np.dtype(np.int64),
    "sequence": np.dtype(np.int64),
}
PER_ITEM = tuple(DTYPES)


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
    def history(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Items last touched, their furthest actions and times, [1, HISTORY] each as `user_items` has them."""
        newest = np.lexsort((self.sequence, self.last))[-HISTORY:]
        item, action = np.full((1, HISTORY), -1, np.int32), np.full((1, HISTORY), -1)
        time = np.full((1, HISTORY), NEVER)
        item[0, : len(newest)], time[0, : len(newest)] = self.item[newest], self.last[newest]
        action[0, : len(newest)] = len(KINDS) - 1 - (self.counts[newest, ::-1] > 0).argmax(axis=1)
        return item, action, time

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

    def names(self) -> list[str]:
        return list(dict.fromkeys([*self._row, *self._awake]))

    def take(self, users: Sequence[str]) -> list[Rows]:
        """The PER_ITEM columns of each."""
        return [{name: getattr(self.get(user), name) for name in PER_ITEM} for user in users]

    def put(self, users: Mapping[str, Rows]) -> None:
        """Remember what `take` gave of these, and forget all others."""
        self._block, self._row = _block({}), {}
        self._awake = {user: UserInteractions(**rows) for user, rows in users.items() if len(rows["item"])}

    def add(self, events: Interactions, sequence: np.ndarray) -> None:
        """Remember more events, in any order of time; `sequence` int64 [m] is their arrival."""
        known = np.flatnonzero(events.item >= 0)
        codes, user = np.unique(events.users[known], return_inverse=True)
        names = events.user.dictionary.take(pa.array(codes)).to_pylist()
        earlier = [self.get(name) for name in names]
        touched = np.repeat(np.arange(len(names)), [len(one.item) for one in earlier])
        columns = _of_events(events, known, sequence)
        columns = {name: np.concatenate([*(getattr(one, name) for one in earlier), columns[name]]) for name in PER_ITEM}
        user, columns = _one_row_an_item(np.concatenate([touched, user]), columns)
        start = np.searchsorted(user, np.arange(len(names) + 1)).tolist()
        for name, rows in zip(names, map(slice, start[:-1], start[1:]), strict=True):
            self._awake[name] = UserInteractions(**{column: values[rows] for column, values in columns.items()})

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
    """The block of all events about known items, in order of arrival, without a loop over users."""
    names, known = events.user.dictionary, np.flatnonzero(events.item >= 0)
    columns = _of_events(events, known, np.arange(len(events)))
    user, columns = _one_row_an_item(events.users[known], columns)
    start = np.searchsorted(user, np.arange(len(names) + 1))
    return columns | {"users": np.array(names.to_pylist(), np.str_), "start": start}


def _of_events(events: Interactions, rows: np.ndarray, sequence: np.ndarray) -> dict[str, np.ndarray]:
    """The PER_ITEM columns of single events."""
    counts = np.zeros((len(rows), len(KINDS)))
    counts[np.arange(len(rows)), events.kind[rows]] = 1.0
    return {"item": events.item[rows], "counts": counts, "last": events.time[rows], "sequence": sequence[rows]}


def _one_row_an_item(user: np.ndarray, columns: Mapping[str, np.ndarray]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """PER_ITEM rows of users [m] with one row a user and item, by both: counts are added up, the latest stays."""
    order = np.lexsort((columns["sequence"], columns["last"], columns["item"], user))
    user, columns = user[order], {name: values[order] for name, values in columns.items()}
    item = columns["item"]
    new = np.append(True, (user[1:] != user[:-1]) | (item[1:] != item[:-1]))[: len(order)]
    starts = np.flatnonzero(new)
    ends = np.append(starts[1:], len(order))[: len(starts)] - 1
    counts = np.add.reduceat(columns["counts"], starts) if len(starts) else columns["counts"]
    return user[ends], {name: values[ends] for name, values in columns.items()} | {"counts": counts}
