"""What the shopper was shown lately, within SPAN before the request, on whatever surface, and what came of it.

Columns [N]: of the shopper's last MOST_LISTS lists `unheeded`, how many showed the item after the shopper's last touch
of it, and `lists_since`, how many lists ago the last such one was (1 = the latest list, 0 = there is none); of all
`category_shown`, the places that the item's category had, and `category_clicks`, the clicks in it that answered a list.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from features.asof import NEVER, Timeline
from features.catalogue import Catalogue
from features.interactions import KINDS, Interactions
from features.spec import Group, count
from features.state import Definition, Part
from features.statistics.keyed_memory import Entity, Memories
from features.statistics.point_in_time import Known, Of, StatisticQuery, as_of
from features.statistics.recent_rows import RecentRows
from features.statistics.statistic import Columns, EventLog, RequestRows, Visitor, pair
from marketplace.keys import rows_of
from marketplace.schema import LISTS_SINCE, MOST_LISTS
from marketplace.splits import DAY_US

SPAN = 30 * DAY_US  # microseconds
KEPT = ("lists", "rows", "touches")
UNHEEDED = f"""recent AS (
    SELECT v.request_id AS request_id, l.moment AS moment,
        row_number() OVER (PARTITION BY v.request_id ORDER BY l.moment DESC) AS back
    FROM visitors AS v JOIN lists AS l ON l.user_id = v.user_id
    WHERE l.moment < v.moment AND l.moment >= v.moment - {SPAN}),
oldest AS (SELECT request_id, min(moment) AS moment FROM recent WHERE back <= {MOST_LISTS} GROUP BY request_id),
touched AS (
    SELECT a.request_id AS request_id, a.place AS place, max(e.moment) AS moment
    FROM candidates AS a JOIN events AS e ON e.user_id = a.user_id AND e.item = a.item
    WHERE e.moment < a.moment
    GROUP BY a.request_id, a.place),
since AS (
    SELECT a.request_id AS request_id, a.place AS place, a.user_id AS user_id, a.item AS item, a.moment AS moment,
        CASE WHEN t.place > 0 AND t.moment >= o.moment THEN t.moment + 1 ELSE o.moment END AS began
    FROM candidates AS a JOIN oldest AS o ON o.request_id = a.request_id
    LEFT JOIN touched AS t ON t.request_id = a.request_id AND t.place = a.place),
unheeded AS (
    SELECT n.request_id AS request_id, n.place AS place, count(*) AS times, max(s.moment) AS moment
    FROM since AS n JOIN shown AS s ON s.user_id = n.user_id AND s.item = n.item
    WHERE s.moment >= n.began AND s.moment < n.moment
    GROUP BY n.request_id, n.place)
SELECT u.request_id AS request_id, u.place AS place, u.times AS unheeded, count(*) AS {LISTS_SINCE}
FROM unheeded AS u JOIN recent AS r ON r.request_id = u.request_id
WHERE r.moment >= u.moment
GROUP BY u.request_id, u.place, u.times"""


class ShownItems:
    """Online: the shoppers' lists, what these showed, and the shoppers' touches."""

    name = "shown_items"
    definitions: tuple[Definition, ...] = (
        Definition(
            count(Group.CROSS, "pair_unheeded", f"times in this shopper's last {MOST_LISTS} lists, not touched since"),
            lambda s: s["unheeded"],
            Part.IMPRESSIONS,
        ),
    )
    optional = False
    without_sql = ""

    def __init__(self, catalogue: Catalogue) -> None:
        self._size, self._catalogue = len(catalogue), catalogue
        self._lists = RecentRows({"time": np.int64}, span=SPAN)
        self._rows = RecentRows({"time": np.int64, "item": np.int32}, span=SPAN)
        self._touches = RecentRows({"time": np.int64, "item": np.int32, "click": np.bool_}, span=SPAN)

    @classmethod
    def point_in_time(cls) -> tuple[StatisticQuery, ...]:
        shown = Known("item_shown", {"category_shown": "1"}, span=SPAN)
        clicks = Known("item_events", {"category_clicks": "1"}, "answers AND event = 'click'", span=SPAN)
        return (
            StatisticQuery(Of.ROW, {"unheeded": 0.0, LISTS_SINCE: 0.0}, UNHEEDED),
            as_of(shown, clicks, by=("user_id", "category")),
        )

    def as_of(self, log: EventLog, requests: RequestRows) -> Columns:
        shown, events, now = log.impressions, log.interactions, requests.row_time
        user, toucher = (rows_of(requests.user_id, names) for names in (shown.users, events.user.dictionary))
        lists = Timeline(shown.user, shown.time)
        known = lists.within(user, requests.time, span=SPAN)
        first = np.maximum(known.start, known.stop - MOST_LISTS)
        first_time = np.where(known.count > 0, np.append(lists.time, NEVER)[first], requests.time)
        touches = Timeline(pair(events.users, events.item, size=self._size), events.time)
        touched = touches.last(touches.before(pair(toucher[requests.request], requests.item, size=self._size), now))
        since = np.maximum(first_time[requests.request], np.where(touched == NEVER, NEVER, touched + 1))
        by_item = Timeline(pair(shown.user[shown.list], shown.item, size=self._size), shown.time[shown.list])
        key, row_user = pair(user[requests.request], requests.item, size=self._size), user[requests.request]
        stop = by_item.before(key, now).stop
        times = np.maximum(stop - by_item.before(key, since).stop, 0)
        last = np.where(times > 0, np.append(by_item.time, NEVER)[stop - 1], now)
        ago = lists.before(row_user, now).stop - lists.before(row_user, last).stop
        columns = {"unheeded": times, LISTS_SINCE: np.where(times > 0, ago, 0)} | self._of_categories(log, requests)
        return {name: requests.known(values) for name, values in columns.items()}

    def _of_categories(self, log: EventLog, requests: RequestRows) -> Columns:
        shown, events = log.impressions, log.interactions
        category = np.append(self._catalogue.category, -1)  # row -1 reads the last
        size, of_row, click = int(category.max()) + 1, category[requests.item], is_click(events)
        happened = {
            "category_shown": (shown.users, shown.user[shown.list], shown.item, shown.time[shown.list]),
            "category_clicks": (events.user.dictionary, events.users[click], events.item[click], events.time[click]),
        }
        columns = {}
        for name, (names, user, item, time) in happened.items():
            key = pair(rows_of(requests.user_id, names)[requests.request], of_row, size=size)
            line = Timeline(pair(user, category[item], size=size), time)
            columns[name] = line.within(key, requests.row_time, span=SPAN).count
        return columns

    def update(self, log: EventLog) -> None:
        shown, events = log.impressions, log.interactions
        self._lists.add(shown.users, shown.user, {"time": shown.time})
        rows = {"time": shown.time[shown.list], "item": shown.item}
        self._rows.add(shown.users, shown.user[shown.list], rows)
        touches = {"time": events.time, "item": events.item, "click": is_click(events)}
        self._touches.add(events.user.dictionary, events.users, touches)

    def of_user(self, visitor: Visitor) -> Columns:
        return {}

    def of_rows(self, visitor: Visitor, rows: np.ndarray) -> Columns:
        lists = self._lists.get(visitor.user_id, now=visitor.time)["time"]
        shown = self._rows.get(visitor.user_id, now=visitor.time)
        touches = self._touches.get(visitor.user_id, now=visitor.time)
        item, last_touch, _ = _latest(touches["item"], touches["time"])
        touched = _looked_up(item, last_touch, shown["item"], absent=NEVER)
        left = (shown["time"] >= lists[-MOST_LISTS:].min(initial=visitor.time)) & (shown["time"] > touched)
        item, last_time, times = _latest(shown["item"][left], shown["time"][left])
        columns = dict(zip(("unheeded", LISTS_SINCE), np.zeros((2, len(rows))), strict=True))
        if len(item):
            place = np.minimum(np.searchsorted(item, rows), len(item) - 1)
            among = np.flatnonzero((item[place] == rows) & (rows >= 0))
            columns["unheeded"][among] = times[place[among]]
            columns[LISTS_SINCE][among] = (len(lists) - np.searchsorted(lists, last_time))[place[among]]
        of_rows = np.where(rows >= 0, self._catalogue.category[rows], -1)
        for name, items in (("category_shown", shown["item"]), ("category_clicks", touches["item"][touches["click"]])):
            columns[name] = _counted(self._catalogue.category[items[items >= 0]], of_rows)
        return columns

    @property
    def memories(self) -> Memories:
        return {name: getattr(self, f"_{name}").of(Entity.USER) for name in KEPT}

    def saved(self) -> Mapping[str, np.ndarray]:
        memories = {name: getattr(self, f"_{name}").saved() for name in KEPT}
        return {f"{name}.{key}": values for name, saved in memories.items() for key, values in saved.items()}

    def restore(self, saved: Mapping[str, np.ndarray]) -> None:
        for name in KEPT:
            prefix = f"{name}."
            columns = {key.removeprefix(prefix): v for key, v in saved.items() if key.startswith(prefix)}
            getattr(self, f"_{name}").restore(columns)


def is_click(events: Interactions) -> np.ndarray:
    """bool [m]: clicks that answer a list."""
    return events.answers & (events.kind == KINDS.index("click"))


def _latest(item: np.ndarray, time: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The distinct items of rows sorted by time, the latest time of each, and how often it occurs."""
    distinct, place, counts = np.unique(item[::-1], return_index=True, return_counts=True)
    return distinct, time[::-1][place], counts


def _looked_up(item: np.ndarray, values: np.ndarray, rows: np.ndarray, *, absent: float) -> np.ndarray:
    """The values of sorted distinct items at catalogue rows; `absent` for others, and for -1."""
    place = np.searchsorted(item, rows)
    among = (np.append(item, -1)[place] == rows) & (rows >= 0)
    return np.where(among, np.append(values, absent)[place], absent)


def _counted(codes: np.ndarray, of_rows: np.ndarray) -> np.ndarray:
    """float64 [n]: how often the code of each row occurs; 0 of -1, which is none."""
    counts = np.bincount(codes + 1, minlength=of_rows.max(initial=-1) + 2).astype(np.float64)
    counts[0] = 0.0
    return counts[of_rows + 1]
