"""Decayed popularity of an item: sum over its interactions of weight x 2^-(age / HALF_LIFE).

Weights are POPULARITY_WEIGHTS, in clicks. Online a value is kept with the time at which it held, so that ageing costs
one power at each read; a request of an earlier time reads it as it held, since no age is below 0.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from features.asof import Timeline
from features.catalogue import Catalogue
from features.interactions import POPULARITY_WEIGHTS
from features.spec import Group, count
from features.state import Definition
from features.statistics.keyed_memory import ItemRows, Memories
from features.statistics.point_in_time import Known, StatisticQuery, as_of
from features.statistics.statistic import Columns, EventLog, RequestRows, Visitor, lengthened
from marketplace.splits import DAY_US

HALF_LIFE = 7.0 * DAY_US
SPAN = 1000.0  # half-lives, 19 years, that requests of one query may lie apart: 2^SPAN is a number
LAST = "(SELECT max(moment) FROM visitors)"  # the time to which the sums of a query are decayed


class DecayedPopularity:
    """Column `popularity` [N]."""

    name = "popularity"
    definitions: tuple[Definition, ...] = (
        Definition(
            count(Group.CROSS, "popularity", "touches of the item, weighted and decayed"), lambda s: s["popularity"]
        ),
    )
    optional = False
    without_sql = ""

    def __init__(self, catalogue: Catalogue) -> None:
        self._value = np.zeros(len(catalogue))
        self._at = np.zeros(len(catalogue), np.int64)

    @classmethod
    def point_in_time(cls) -> tuple[StatisticQuery, ...]:
        weights = " ".join(f"WHEN '{kind}' THEN {weight}" for kind, weight in POPULARITY_WEIGHTS.items())
        decayed = f"CASE event {weights} END * pow(2, (moment - {LAST}) / {HALF_LIFE})"
        then = f"popularity_sum * pow(2, least(({LAST} - known) / {HALF_LIFE}, {SPAN}))"
        return (as_of(Known("events", {"popularity": decayed}), by=("item",), finish={"popularity": then}),)

    def as_of(self, log: EventLog, requests: RequestRows) -> Columns:
        events, now = log.interactions, requests.row_time
        line = Timeline(events.item, events.time)
        known = line.before(requests.item, now)
        return {"popularity": requests.known(line.decayed(known, events.weight, now, half_life=HALF_LIFE))}

    def update(self, log: EventLog) -> None:
        events = log.interactions.select(log.interactions.item >= 0)
        if len(events) == 0:
            return
        line = Timeline(events.item, events.time)
        more = line.decayed_at_events(events.weight, half_life=HALF_LIFE)[line.group_ends]
        more_at, items = line.time[line.group_ends], np.unique(events.item)
        now = np.maximum(self._at[items], more_at)
        aged = self._value[items] * np.exp2(-(now - self._at[items]) / HALF_LIFE)
        self._value[items] = aged + more * np.exp2(-(now - more_at) / HALF_LIFE)
        self._at[items] = now

    def of_user(self, visitor: Visitor) -> Columns:
        return {}

    def of_rows(self, visitor: Visitor, rows: np.ndarray) -> Columns:
        age = np.maximum(visitor.time - self._at.take(rows), 0)
        value = self._value.take(rows) * np.exp2(-age / HALF_LIFE)
        value[np.flatnonzero(rows < 0)] = 0.0
        return {"popularity": value}

    @property
    def memories(self) -> Memories:
        return {"decayed": ItemRows({"value": self._value, "at": self._at})}

    def saved(self) -> Mapping[str, np.ndarray]:
        return {"value": self._value, "at": self._at}

    def restore(self, saved: Mapping[str, np.ndarray]) -> None:
        self._value, self._at = (lengthened(saved[name], len(self._value)) for name in ("value", "at"))
