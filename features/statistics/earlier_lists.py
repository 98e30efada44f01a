"""Where earlier lists put an item: in all of them, and in those of the same visit (within VISIT before the request).

Columns [N]: `listed` earlier lists with the item, `listed_positions` the sum of its positions in them (1 = first),
`visit_position` its position in the visit's latest list with it (NaN = none). Columns [R]: `all_listed`,
`all_listed_positions` of all items; `visit_lists` of the visit; `visit_began` int64, time of the first (NEVER = none).
The order of the list that is to be ranked is never read.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from features.asof import NEVER, Timeline
from features.catalogue import Catalogue
from features.spec import Group, count, number
from features.state import Definition, FeatureState, Part, days
from features.statistics.keyed_memory import Entity, ItemRows, Memories, market_rows
from features.statistics.point_in_time import Known, Of, StatisticQuery, as_of
from features.statistics.recent_rows import VISIT, RecentRows
from features.statistics.statistic import Columns, EventLog, RequestRows, Visitor, lengthened, pair
from marketplace.keys import rows_of

DAY_SECONDS = 86_400.0
LISTS = f"""SELECT v.request_id AS request_id, count(*) AS visit_lists, min(l.moment) AS visit_began
FROM visitors AS v JOIN lists AS l ON l.session_id = v.session_id
WHERE l.moment < v.moment AND l.moment >= v.moment - {VISIT}
GROUP BY v.request_id"""
LATEST = f"""seats AS (
    SELECT a.request_id AS request_id, a.place AS place, s.seat AS seat,
        row_number() OVER (
            PARTITION BY a.request_id, a.place ORDER BY s.moment DESC, s.arrived DESC, s.place DESC) AS back
    FROM candidates AS a JOIN shown AS s ON s.session_id = a.session_id AND s.item = a.item
    WHERE s.moment < a.moment AND s.moment >= a.moment - {VISIT})
SELECT request_id, place, seat AS visit_position FROM seats WHERE back = 1"""


def mean_position(state: FeatureState) -> np.ndarray:
    """(sum of positions + market's mean) / (lists + 1): an item that was never listed has the market's mean."""
    market = state["all_listed_positions"] / np.maximum(state["all_listed"], 1)
    return (state["listed_positions"] + state.of_request(market)) / (state["listed"] + 1)


class EarlierLists:
    """Online: sums by item, the visits' lists and the positions in them."""

    name = "earlier_lists"
    definitions: tuple[Definition, ...] = (
        Definition(
            count(Group.USER, "visit_lists", "lists of this visit so far"),
            lambda s: s["visit_lists"],
            Part.AGAINST_LIST,
        ),
        Definition(
            count(Group.USER, "visit_seconds", "since the visit's first list"),
            lambda s: np.nan_to_num(days(s["visit_began"], s.time)) * DAY_SECONDS,
            Part.AGAINST_LIST,
        ),
        Definition(
            number(Group.CROSS, "visit_position", "position in the visit's latest list with the item"),
            lambda s: s["visit_position"],
            Part.AGAINST_LIST,
        ),
        Definition(
            number(Group.CROSS, "earlier_position", "mean position in all earlier lists, drawn towards the market's"),
            mean_position,
            Part.AGAINST_LIST,
        ),
    )
    optional = True
    without_sql = ""

    def __init__(self, catalogue: Catalogue) -> None:
        self._listed, self._positions, self._all = np.zeros(len(catalogue)), np.zeros(len(catalogue)), np.zeros((1, 2))
        self._lists = RecentRows({"time": np.int64})
        self._rows = RecentRows({"time": np.int64, "item": np.int32, "position": np.float64})

    @classmethod
    def point_in_time(cls) -> tuple[StatisticQuery, ...]:
        everywhere = Known("shown", {"all_listed": "1", "all_listed_positions": "seat"})
        return (
            as_of(Known("shown", {"listed": "1", "listed_positions": "seat"}), by=("item",)),
            as_of(everywhere, of=Of.REQUEST),
            StatisticQuery(Of.REQUEST, {"visit_lists": 0.0, "visit_began": NEVER}, LISTS),
            StatisticQuery(Of.ROW, {"visit_position": np.nan}, LATEST),
        )

    def as_of(self, log: EventLog, requests: RequestRows) -> Columns:
        shown, size = log.impressions, len(self._listed)
        time, now = shown.time[shown.list], requests.row_time
        visit = rows_of(requests.session_id, shown.sessions)
        by_item = Timeline(shown.item, time)
        known = by_item.before(requests.item, now)
        order = np.argsort(time, kind="stable")
        place = np.searchsorted(time[order], requests.time)
        lists = Timeline(shown.session, shown.time)
        earlier = lists.within(visit, requests.time, span=VISIT)
        by_visit = Timeline(pair(shown.session[shown.list], shown.item, size=size), time)
        again = by_visit.within(pair(visit[requests.request], requests.item, size=size), now, span=VISIT)
        visited = earlier.count > 0
        return {
            "listed": requests.known(known.count),
            "listed_positions": requests.known(by_item.sums(known, shown.position.astype(np.int64))),
            "all_listed": place.astype(np.float64),
            "all_listed_positions": np.append(0.0, np.cumsum(shown.position[order]))[place],
            "visit_lists": earlier.count.astype(np.float64),
            "visit_began": np.where(visited, np.append(lists.time, NEVER)[earlier.start], NEVER),
            "visit_position": by_visit.latest(again, shown.position),
        }

    def update(self, log: EventLog) -> None:
        shown = log.impressions
        known = shown.item >= 0
        np.add.at(self._listed, shown.item[known], 1.0)
        np.add.at(self._positions, shown.item[known], shown.position[known])
        self._all += np.array([[len(shown.item), shown.position.sum()]])
        self._lists.add(shown.sessions, shown.session, {"time": shown.time})
        rows = {"time": shown.time[shown.list], "item": shown.item, "position": shown.position}
        self._rows.add(shown.sessions, shown.session[shown.list], rows)

    def of_user(self, visitor: Visitor) -> Columns:
        lists = self._lists.get(visitor.session_id, now=visitor.time)["time"]
        return {
            "all_listed": self._all[:, 0].copy(),
            "all_listed_positions": self._all[:, 1].copy(),
            "visit_lists": np.array([float(len(lists))]),
            "visit_began": np.array([lists[0] if len(lists) else NEVER]),
        }

    def of_rows(self, visitor: Visitor, rows: np.ndarray) -> Columns:
        visit, unknown = self._rows.get(visitor.session_id, now=visitor.time), np.flatnonzero(rows < 0)
        listed, positions, latest = self._listed[rows], self._positions[rows], np.full(len(rows), np.nan)
        listed[unknown] = positions[unknown] = 0.0
        order = np.argsort(visit["item"], kind="stable")
        item = visit["item"][order]
        place = np.searchsorted(item, rows, side="right") - 1  # the latest of each item
        among = (place >= 0) & (rows >= 0)
        among[among] = item[place[among]] == rows[among]
        latest[among] = visit["position"][order][place[among]]
        return {"listed": listed, "listed_positions": positions, "visit_position": latest}

    @property
    def memories(self) -> Memories:
        return {
            "items": ItemRows({"listed": self._listed, "positions": self._positions}),
            "market": market_rows({"all": self._all}),
            "lists": self._lists.of(Entity.VISIT),
            "rows": self._rows.of(Entity.VISIT),
        }

    def saved(self) -> Mapping[str, np.ndarray]:
        memories = {"lists": self._lists.saved(), "rows": self._rows.saved()}
        columns = {f"{name}.{key}": values for name, saved in memories.items() for key, values in saved.items()}
        return columns | {"listed": self._listed, "positions": self._positions, "all": self._all[0]}

    def restore(self, saved: Mapping[str, np.ndarray]) -> None:
        self._listed, self._positions = (lengthened(saved[name], len(self._listed)) for name in ("listed", "positions"))
        self._all = saved["all"].reshape(1, 2).copy()
        for name, memory in (("lists", self._lists), ("rows", self._rows)):
            prefix = f"{name}."
            memory.restore({key.removeprefix(prefix): v for key, v in saved.items() if key.startswith(prefix)})
