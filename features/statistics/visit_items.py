"""What the same visit touched: interactions of the session with each row's item, within VISIT before the request.

Columns: `visit_interactions` and `visit_since` [N], the session's interactions with the item, and those with any item
from the last of them on (NaN = none); `visit_total` [R], all of the session.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from features.asof import Timeline
from features.catalogue import Catalogue
from features.spec import Group, count, number
from features.state import Definition, Part
from features.statistics.keyed_memory import Entity, Memories
from features.statistics.point_in_time import Known, Of, StatisticQuery, as_of
from features.statistics.recent_rows import VISIT, RecentRows
from features.statistics.statistic import Columns, EventLog, RequestRows, Visitor, pair
from marketplace.keys import rows_of

SINCE = f"""touched AS (
    SELECT a.request_id AS request_id, a.place AS place, a.session_id AS session_id, a.moment AS moment,
        count(*) AS interactions, max(e.moment) AS touched
    FROM candidates AS a JOIN events AS e ON e.session_id = a.session_id AND e.item = a.item
    WHERE e.moment < a.moment AND e.moment >= a.moment - {VISIT}
    GROUP BY a.request_id, a.place, a.session_id, a.moment)
SELECT t.request_id AS request_id, t.place AS place, t.interactions AS visit_interactions, count(*) AS visit_since
FROM touched AS t JOIN events AS e ON e.session_id = t.session_id
WHERE e.moment >= t.touched AND e.moment < t.moment
GROUP BY t.request_id, t.place, t.interactions"""


class VisitItems:
    """Online: the sessions' items and times."""

    name = "visit_items"
    definitions: tuple[Definition, ...] = (
        Definition(
            count(Group.CROSS, "visit_interactions", "interactions of this visit with the item so far"),
            lambda s: s["visit_interactions"],
            Part.AGAINST_LIST,
        ),
        Definition(
            number(Group.CROSS, "visit_share", "their share of the visit's interactions"),
            lambda s: s["visit_interactions"] / s.of_request(np.maximum(s["visit_total"], 1)),
            Part.AGAINST_LIST,
        ),
        Definition(
            count(Group.CROSS, "visit_since", "interactions of the visit since the last with the item, that one too"),
            lambda s: s["visit_since"],
            Part.AGAINST_LIST,
        ),
    )
    optional = True
    without_sql = ""

    def __init__(self, catalogue: Catalogue) -> None:
        self._size = len(catalogue)
        self._visits = RecentRows({"time": np.int64, "item": np.int32})

    @classmethod
    def point_in_time(cls) -> tuple[StatisticQuery, ...]:
        total = Known("events", {"visit_total": "1"}, "session_id IS NOT NULL", span=VISIT)
        return (
            as_of(total, by=("session_id",), of=Of.REQUEST),
            StatisticQuery(Of.ROW, {"visit_interactions": 0.0, "visit_since": np.nan}, SINCE),
        )

    def as_of(self, log: EventLog, requests: RequestRows) -> Columns:
        events, size, now = log.interactions, self._size, requests.row_time
        visit = rows_of(requests.session_id, events.session.dictionary)
        by_visit = Timeline(events.sessions, events.time)
        by_item = Timeline(pair(events.sessions, events.item, size=size), events.time)
        known = by_item.within(pair(visit[requests.request], requests.item, size=size), now, span=VISIT)
        total = by_visit.within(visit, requests.time, span=VISIT).count
        among = known.count > 0
        last = np.where(among, by_item.last(known), now)
        since = by_visit.before(visit[requests.request], now).stop - by_visit.before(visit[requests.request], last).stop
        return {
            "visit_total": total.astype(np.float64),
            "visit_interactions": known.count.astype(np.float64),
            "visit_since": np.where(among, since, np.nan),
        }

    def update(self, log: EventLog) -> None:
        events = log.interactions
        self._visits.add(events.session.dictionary, events.sessions, {"time": events.time, "item": events.item})

    def of_user(self, visitor: Visitor) -> Columns:
        return {"visit_total": np.array([float(len(self._visits.get(visitor.session_id, now=visitor.time)["time"]))])}

    def of_rows(self, visitor: Visitor, rows: np.ndarray) -> Columns:
        visit = self._visits.get(visitor.session_id, now=visitor.time)
        item, which, counts = np.unique(visit["item"], return_inverse=True, return_counts=True)
        last = np.zeros(len(item), np.int64)
        np.maximum.at(last, which, visit["time"])
        since = (len(visit["time"]) - np.searchsorted(visit["time"], last)).astype(np.float64)
        place = np.minimum(np.searchsorted(item, rows), max(len(item) - 1, 0))
        among = (np.append(item, -1)[place] == rows) & (rows >= 0)
        return {
            "visit_interactions": np.where(among, np.append(counts, 0)[place], 0).astype(np.float64),
            "visit_since": np.where(among, np.append(since, 0.0)[place], np.nan),
        }

    @property
    def memories(self) -> Memories:
        return {"visits": self._visits.of(Entity.VISIT)}

    def saved(self) -> Mapping[str, np.ndarray]:
        return self._visits.saved()

    def restore(self, saved: Mapping[str, np.ndarray]) -> None:
        self._visits.restore(saved)
