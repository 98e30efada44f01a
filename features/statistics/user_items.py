"""A user and an item: the user's last items, and interactions with each item, its category and its merchant.

Columns [N]: `pair_<kind>s`, `pair_last` (int64), `category_touches`, `merchant_touches`. Columns [R, HISTORY], oldest
first, of the distinct items touched last: `history` int32 catalogue rows (padded with -1 at the end), `history_action`
int64, the furthest action (index of KINDS, -1), `history_time` int64, of the last touch (NEVER). Columns [R], of the
newest: `last_item` int32 (-1 = none), `last_price` (NaN = none), `last_category`, `last_merchant` int32 codes (-1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from features.asof import NEVER, Timeline
from features.catalogue import Catalogue
from features.history import furthest, last_distinct, next_times
from features.history_columns import DEFINITIONS as HISTORY_DEFINITIONS
from features.interactions import KINDS
from features.spec import HISTORY, Group, count, number
from features.state import Definition, Part, days, log_ratio
from features.statistics.keyed_memory import Entity, Memories, NamedRows, market_rows
from features.statistics.point_in_time import FOREVER, Known, Of, StatisticQuery, as_of, when
from features.statistics.statistic import Columns, EventLog, RequestRows, Visitor, pair
from features.statistics.user_memory import UserMemory
from marketplace.keys import rows_of

FURTHEST = " ".join(f"WHEN '{kind}' THEN {k}" for k, kind in enumerate(KINDS))
STEPS = f"""touches AS (
    SELECT user_id, item, moment, arrived, lead(moment, 1, {FOREVER}) OVER again AS again,
        max(CASE event {FURTHEST} END) OVER past AS furthest
    FROM events
    WHERE item IN (SELECT item FROM facts) AND user_id IN (SELECT user_id FROM visitors)
    WINDOW again AS (PARTITION BY user_id, item ORDER BY moment, arrived),
        past AS (
            PARTITION BY user_id, item ORDER BY moment, arrived
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)),
steps AS (
    SELECT v.request_id AS request_id, t.item AS item, t.furthest AS furthest, t.moment AS touched,
        row_number() OVER (PARTITION BY v.request_id ORDER BY t.moment DESC, t.arrived DESC) AS back,
        count(*) OVER (PARTITION BY v.request_id) AS steps
    FROM visitors AS v JOIN touches AS t ON t.user_id = v.user_id
    WHERE t.moment < v.moment AND t.again >= v.moment)
SELECT request_id, least(steps, {HISTORY}) - back + 1 AS place, item AS history, furthest AS history_action,
    touched AS history_time
FROM steps
WHERE back <= {HISTORY}"""


class UserItems:
    """Online: a `UserMemory`."""

    name = "user_items"
    definitions: tuple[Definition, ...] = (
        *HISTORY_DEFINITIONS,
        Definition(
            count(Group.USER, "user_last_price", "catalogue price of the last touched item, currency"),
            lambda s: s["last_price"],
        ),
        Definition(
            count(Group.CROSS, "pair_clicks", "this user's clicks on the item so far"),
            lambda s: s["pair_clicks"],
            Part.IMPRESSIONS,
        ),
        Definition(
            count(Group.CROSS, "pair_carts", "this user's cart events of the item so far"), lambda s: s["pair_carts"]
        ),
        Definition(
            count(Group.CROSS, "pair_orders", "this user's orders of the item so far"), lambda s: s["pair_orders"]
        ),
        Definition(
            count(Group.CROSS, "pair_days_since", "days since this user touched the item"),
            lambda s: days(s["pair_last"], s.row_time),
        ),
        Definition(
            number(Group.CROSS, "is_last_touched", "1 = the item this user touched last"),
            lambda s: (s.item == s.of_request(s["last_item"])) & (s.item >= 0),
        ),
        Definition(
            number(Group.CROSS, "same_category_as_last", "1 = of the category touched last"),
            lambda s: (s.category == s.of_request(s["last_category"])) & (s.category >= 0),
        ),
        Definition(
            number(Group.CROSS, "same_merchant_as_last", "1 = of the merchant touched last"),
            lambda s: (s.merchant == s.of_request(s["last_merchant"])) & (s.merchant >= 0),
        ),
        Definition(
            number(Group.CROSS, "price_to_last", "log of price over the last touched item's"),
            lambda s: log_ratio(s.price, s.of_request(s["last_price"])),
        ),
        Definition(
            count(Group.CROSS, "category_touches", "this user's touches in the category so far"),
            lambda s: s["category_touches"],
        ),
        Definition(
            count(Group.CROSS, "merchant_touches", "this user's touches of the merchant so far"),
            lambda s: s["merchant_touches"],
        ),
    )
    optional = False
    without_sql = ""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._codes = {
            "category": (catalogue.category, len(catalogue.category_names)),
            "merchant": (catalogue.merchant, len(catalogue.merchant_names)),
        }
        self._users = UserMemory()
        self._arrived = np.zeros(1, np.int64)

    @classmethod
    def point_in_time(cls) -> tuple[StatisticQuery, ...]:
        pairs = {f"pair_{kind}s": when(f"event = '{kind}'") for kind in KINDS} | {"pair_last": "moment"}
        history = {"history": -1, "history_action": -1, "history_time": NEVER}
        return (
            as_of(Known("events", pairs), by=("user_id", "item"), latest=("pair_last",)),
            as_of(Known("item_events", {"category_touches": "1"}), by=("user_id", "category")),
            as_of(Known("item_events", {"merchant_touches": "1"}), by=("user_id", "merchant_id")),
            StatisticQuery(
                Of.STEP, history, STEPS, derived=lambda catalogue, _, steps: with_newest(catalogue, **steps)
            ),
        )

    def as_of(self, log: EventLog, requests: RequestRows) -> Columns:
        events, size = log.interactions.select(log.interactions.item >= 0), len(self._catalogue)
        user = rows_of(requests.user_id, events.user.dictionary)
        row_user, now, item = user[requests.request], requests.row_time, requests.item
        by_item = pair(events.users, events.item, size=size)
        of_pair = Timeline(by_item, events.time)
        known = of_pair.before(pair(row_user, item, size=size), now)
        columns = {f"pair_{kind}s": of_pair.sums(known, events.kind == k) for k, kind in enumerate(KINDS)}
        columns["pair_last"] = of_pair.last(known)
        for name, (code, groups) in self._codes.items():
            group = Timeline(pair(events.users, code[events.item], size=groups), events.time)
            of_row = np.where(item >= 0, code[item], -1)
            columns[f"{name}_touches"] = group.before(pair(row_user, of_row, size=groups), now).count.astype(np.float64)
        following, action = next_times(by_item, of_pair), furthest(by_item, of_pair, events.kind)
        line = Timeline(events.users, events.time)
        known = line.before(user, requests.time)
        touch = last_distinct(line, known, requests.time, following=following, length=HISTORY)
        steps = np.append(events.item, -1)[touch], np.append(action, -1)[touch], np.append(events.time, NEVER)[touch]
        return columns | with_newest(self._catalogue, *steps)

    def update(self, log: EventLog) -> None:
        events = log.interactions
        sequence = self._arrived[0] + np.arange(len(events))
        self._arrived += len(events)
        self._users.add(events, sequence)

    def of_user(self, visitor: Visitor) -> Columns:
        return with_newest(self._catalogue, *self._users.get(visitor.user_id).history)

    def of_rows(self, visitor: Visitor, rows: np.ndarray) -> Columns:
        user = self._users.get(visitor.user_id)
        place, among = user.find(rows)
        counts, last = np.zeros((len(KINDS), len(rows))), np.full(len(rows), NEVER)
        counts[:, among] = user.counts[place[among]].T
        last[among] = user.last[place[among]]
        columns = {f"pair_{kind}s": counts[k] for k, kind in enumerate(KINDS)} | {"pair_last": last}
        unknown = np.flatnonzero(rows < 0)
        for name, (code, groups) in self._codes.items():
            of_rows = code.take(rows)
            most = max(groups, of_rows.max(initial=0) + 1)  # a category or merchant may have begun since
            events = np.bincount(code[user.item], user.events, minlength=most)[of_rows]
            events[unknown] = 0.0
            columns[f"{name}_touches"] = events
        return columns

    @property
    def memories(self) -> Memories:
        users = NamedRows.of(Entity.USER, lambda: self._users.table, bound="items that the user touched")
        of_users = replace(users, put=lambda names, rows: self._users.put(names, rows))
        return {"users": of_users, "market": market_rows({"arrived": self._arrived})}

    def saved(self) -> Mapping[str, np.ndarray]:
        return self._users.saved() | {"arrived": self._arrived[0]}

    def restore(self, saved: Mapping[str, np.ndarray]) -> None:
        self._users.restore(saved)
        self._arrived = np.atleast_1d(saved["arrived"]).astype(np.int64)


def with_newest(
    catalogue: Catalogue, history: np.ndarray, history_action: np.ndarray, history_time: np.ndarray
) -> Columns:
    """The columns of histories, [R, HISTORY], with those of the newest step, [R]."""
    newest = np.maximum((history >= 0).sum(axis=1) - 1, 0)
    last = history[np.arange(len(history)), newest]
    known = last >= 0
    return {
        "history": history,
        "history_action": history_action,
        "history_time": history_time,
        "last_item": last,
        "last_price": np.where(known, catalogue.price[last], np.nan),
        "last_category": np.where(known, catalogue.category[last], -1),
        "last_merchant": np.where(known, catalogue.merchant[last], -1),
    }
