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
from features.statistics.keyed_rows import KeyedRows, NamedTable, Rows

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
    """Every user's `UserInteractions`."""

    def __init__(self) -> None:
        self.table = NamedTable(DTYPES)
        self._users: dict[str, UserInteractions] = {}  # those that were read since the last change

    def get(self, user_id: str) -> UserInteractions:
        """What is remembered of the user: nothing, for one who is new."""
        user = self._users.get(user_id)
        if user is None:
            user = UserInteractions(**self.table.get(user_id))
            if len(user.item):
                self._users[user_id] = user
        return user

    def put(self, users: Sequence[str], rows: KeyedRows) -> None:
        """Remember the PER_ITEM columns of these, and forget all others."""
        self.table.put(users, rows)
        self._users.clear()

    def add(self, events: Interactions, sequence: np.ndarray) -> None:
        """Remember more events, in any order of time; `sequence` int64 [m] is their arrival."""
        known = np.flatnonzero(events.item >= 0)
        codes, user = np.unique(events.users[known], return_inverse=True)
        names = events.user.dictionary.take(pa.array(codes)).to_pylist()
        user, new = _one_row_an_item(user, _of_events(events, known, sequence))
        rows = self.table.take(names)
        place = rows.smaller("item", user, new["item"])
        at = np.minimum(rows.starts[user] + place, max(len(rows.owner) - 1, 0))
        again = place < rows.lengths[user]
        again[again] = rows.columns["item"][at[again]] == new["item"][again]
        _add_up(rows.columns, at[again], {name: values[again] for name, values in new.items()})
        fresh = {name: values[~again] for name, values in new.items()}
        self.table.replace(names, rows.inserted(user[~again], place[~again], fresh))
        for name in names:
            self._users.pop(name, None)

    def saved(self) -> dict[str, np.ndarray]:
        """Everybody: `users`, where each one's rows `start`, and PER_ITEM."""
        names = self.table.names()
        rows = self.table.take(names)
        start = np.append(0, np.cumsum(rows.lengths))
        return {**rows.columns, "users": np.array(names, np.str_), "start": start}

    def restore(self, saved: Mapping[str, np.ndarray]) -> None:
        rows = KeyedRows(np.diff(saved["start"]), {name: saved[name] for name in PER_ITEM})
        self.put(saved["users"].tolist(), rows)


def _add_up(columns: Rows, at: np.ndarray, new: Rows) -> None:
    """Add events of users' items to the rows `at`, each once: the latest event of an item stays."""
    columns["counts"][at] += new["counts"]
    last, sequence = columns["last"][at], columns["sequence"][at]
    later = (new["last"] > last) | ((new["last"] == last) & (new["sequence"] > sequence))
    for name in ("last", "sequence"):
        columns[name][at[later]] = new[name][later]


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
