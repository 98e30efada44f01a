"""A user's interactions by kind, and the time of the last: columns `user_<kind>s` and `user_last` [R].

Events about items outside the catalogue count too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from features.asof import NEVER, Timeline
from features.catalogue import Catalogue
from features.interactions import KINDS
from features.spec import Group, count
from features.state import Definition, Part, days
from features.statistics.keyed_memory import Entity, Memories, NamedRows
from features.statistics.keyed_rows import KeyedRows
from features.statistics.point_in_time import Known, Of, StatisticQuery, as_of, when
from features.statistics.statistic import Columns, EventLog, RequestRows, Visitor
from marketplace.keys import rows_of


class UserCounts:
    """Counts float64 [users, kinds] and last times int64 [users], users in order of arrival; room grows by doubling."""

    name = "user_counts"
    definitions: tuple[Definition, ...] = (
        Definition(count(Group.USER, "user_clicks", "clicks so far"), lambda s: s["user_clicks"], Part.IMPRESSIONS),
        Definition(count(Group.USER, "user_carts", "cart events so far"), lambda s: s["user_carts"]),
        Definition(count(Group.USER, "user_orders", "orders so far"), lambda s: s["user_orders"]),
        Definition(
            count(Group.USER, "user_days_since", "days since the last click, cart or order"),
            lambda s: days(s["user_last"], s.time),
        ),
    )
    optional = False
    without_sql = ""

    def __init__(self, catalogue: Catalogue) -> None:
        self._row: dict[str, int] = {}
        self._count = np.zeros((0, len(KINDS)))
        self._last = np.zeros(0, np.int64)

    @classmethod
    def point_in_time(cls) -> tuple[StatisticQuery, ...]:
        columns = {f"user_{kind}s": when(f"event = '{kind}'") for kind in KINDS} | {"user_last": "moment"}
        return (as_of(Known("events", columns), by=("user_id",), of=Of.REQUEST, latest=("user_last",)),)

    def as_of(self, log: EventLog, requests: RequestRows) -> Columns:
        events = log.interactions
        line = Timeline(events.users, events.time)
        known = line.before(rows_of(requests.user_id, events.user.dictionary), requests.time)
        counts = {f"user_{kind}s": line.sums(known, events.kind == k) for k, kind in enumerate(KINDS)}
        return counts | {"user_last": line.last(known)}

    def update(self, log: EventLog) -> None:
        events = log.interactions
        users, which = np.unique(events.users, return_inverse=True)
        names = events.user.dictionary.take(users).to_pylist()
        rows = np.array([self._row.setdefault(name, len(self._row)) for name in names], np.int64)[which]
        room = max(len(self._row) - len(self._last), 0)
        if room:
            room = max(room, len(self._last))
            self._count = np.concatenate([self._count, np.zeros((room, len(KINDS)))])
            self._last = np.append(self._last, np.full(room, NEVER))
        np.add.at(self._count, (rows, events.kind), 1.0)
        np.maximum.at(self._last, rows, events.time)

    def of_user(self, visitor: Visitor) -> Columns:
        row = self._row.get(visitor.user_id)
        count = np.zeros(len(KINDS)) if row is None else self._count[row]
        last = NEVER if row is None else self._last[row]
        return {f"user_{kind}s": count[k : k + 1].copy() for k, kind in enumerate(KINDS)} | {
            "user_last": np.array([last])
        }

    def of_rows(self, visitor: Visitor, rows: np.ndarray) -> Columns:
        return {}

    @property
    def memories(self) -> Memories:
        dtypes = {"count": np.dtype((np.float64, len(KINDS))), "last": np.dtype(np.int64)}
        return {"users": NamedRows(Entity.USER, dtypes, lambda: list(self._row), self._take, self._put, "one row")}

    def _take(self, users: Sequence[str]) -> KeyedRows:
        row = np.array([self._row.get(user, -1) for user in users], np.int64)
        known = row[row >= 0]
        return KeyedRows((row >= 0).astype(np.int64), {"count": self._count[known], "last": self._last[known]})

    def _put(self, users: Sequence[str], rows: KeyedRows) -> None:
        self._row = {users[key]: row for row, key in enumerate(rows.owner.tolist())}
        self._count, self._last = rows.columns["count"].copy(), rows.columns["last"].copy()

    def saved(self) -> Mapping[str, np.ndarray]:
        users = len(self._row)
        return {"users": np.array(list(self._row), np.str_), "count": self._count[:users], "last": self._last[:users]}

    def restore(self, saved: Mapping[str, np.ndarray]) -> None:
        self._row = {user: row for row, user in enumerate(saved["users"].tolist())}
        self._count, self._last = saved["count"], saved["last"]
