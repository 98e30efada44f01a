"""Counts of events by item, or by another code of the catalogue such as the merchant: a counted statistic is a row.

A row gives two columns: `<name>` [N], the events of the row's item or code so far, and `all_<name>` [R], those of the
whole market, events about unknown items included.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from features.asof import Timeline
from features.catalogue import Catalogue
from features.interactions import KINDS
from features.spec import Group, count, number
from features.state import Definition, FeatureState, Part
from features.statistics.keyed_memory import ItemRows, Memories, market_rows
from features.statistics.point_in_time import Known, Of, StatisticQuery, as_of, when
from features.statistics.statistic import Columns, EventLog, RequestRows, Visitor, lengthened

SMOOTHING = 20.0  # impressions' worth of the market's rate that a new item starts with


@dataclass(frozen=True)
class CountedEvents:
    """What is counted: catalogue rows int32 and times int64 of a log's events, and the same in SQL, a source and which
    of its rows (`point_in_time.SOURCES`)."""

    of: Callable[[EventLog], tuple[np.ndarray, np.ndarray]]
    source: str
    where: str = "1 = 1"


impressions = CountedEvents(lambda log: (log.impressions.item, log.impressions.time[log.impressions.list]), "shown")


def interactions(kind: str, *, answers: bool) -> CountedEvents:
    """CountedEvents of one kind; with `answers` those alone that belong to a slate."""

    def events(log: EventLog) -> tuple[np.ndarray, np.ndarray]:
        rows = log.interactions.kind == KINDS.index(kind)
        rows &= log.interactions.answers | (not answers)
        return log.interactions.item[rows], log.interactions.time[rows]

    return CountedEvents(events, "events", f"event = '{kind}'" + (" AND answers" if answers else ""))


def smoothed_rate(state: FeatureState, events: str) -> np.ndarray:
    """(events + s x market rate) / (impressions + s), s = SMOOTHING; float64 [N]."""
    market = state[f"all_{events}"] / np.maximum(state["all_impressions"], 1.0)
    return (state[events] + SMOOTHING * state.of_request(market)) / (state["impressions"] + SMOOTHING)


@dataclass(frozen=True)
class Count:
    """A counted statistic: which events, by what of an item, and the features that read it."""

    name: str
    events: CountedEvents
    definitions: tuple[Definition, ...]
    by: Literal["item", "category", "merchant_id"] = "item"

    def code(self, catalogue: Catalogue) -> np.ndarray:
        """int [n items]: what events are counted by."""
        rows = np.arange(len(catalogue), dtype=np.int32)
        return {"item": rows, "category": catalogue.category, "merchant_id": catalogue.merchant}[self.by]

    def known(self, name: str, *, of_items: bool = False) -> Known:
        """The events as a column of a query; `of_items`: of known items alone, with what they are."""
        source = f"item_{self.events.source}" if of_items else self.events.source
        return Known(source, {name: when(self.events.where)})


COUNTS = (
    Count(
        "impressions",
        impressions,
        (
            Definition(
                count(Group.CROSS, "impressions", "times the item was shown so far"),
                lambda s: s["impressions"],
                Part.IMPRESSIONS,
            ),
        ),
    ),
    Count(
        "clicks",
        interactions("click", answers=True),
        (
            Definition(
                number(Group.CROSS, "ctr_smoothed", "clicks per impression so far, drawn towards the market's"),
                lambda s: smoothed_rate(s, "clicks"),
                Part.IMPRESSIONS,
            ),
        ),
    ),
    Count(
        "orders",
        interactions("order", answers=True),
        (
            Definition(
                number(Group.CROSS, "order_rate_smoothed", "orders per impression so far, drawn towards the market's"),
                lambda s: smoothed_rate(s, "orders"),
                Part.IMPRESSIONS,
            ),
        ),
    ),
    Count(
        "carts",
        interactions("cart", answers=False),
        (Definition(count(Group.CROSS, "carts", "cart events of the item so far"), lambda s: s["carts"], Part.EXTRA),),
    ),
)


class Counts:
    """Every row of COUNTS, counted at once and one by one."""

    name = "counts"
    definitions: tuple[Definition, ...] = tuple(definition for row in COUNTS for definition in row.definitions)
    optional = False
    without_sql = ""

    def __init__(self, catalogue: Catalogue) -> None:
        self._code = {row.name: row.code(catalogue) for row in COUNTS}
        self._count = {name: np.zeros(int(code.max(initial=-1)) + 1) for name, code in self._code.items()}
        self._total = {f"all_{name}": np.zeros(1) for name in self._code}

    @classmethod
    def point_in_time(cls) -> tuple[StatisticQuery, ...]:
        market = as_of(*(row.known(f"all_{row.name}") for row in COUNTS), of=Of.REQUEST)
        rows = {by: [row for row in COUNTS if row.by == by] for by in sorted({row.by for row in COUNTS})}
        known = {by: [row.known(row.name, of_items=by != "item") for row in some] for by, some in rows.items()}
        return (*(as_of(*some, by=(by,)) for by, some in known.items()), market)

    def as_of(self, log: EventLog, requests: RequestRows) -> Columns:
        columns: Columns = {}
        for row in COUNTS:
            items, time = row.events.of(log)
            code = np.append(self._code[row.name], -1)  # row -1 reads the last
            known = Timeline(code[items], time).before(code[requests.item], requests.row_time)
            columns[row.name] = requests.known(known.count)
            columns[f"all_{row.name}"] = np.searchsorted(np.sort(time), requests.time).astype(np.float64)
        return columns

    def update(self, log: EventLog) -> None:
        for row in COUNTS:
            items, _ = row.events.of(log)
            np.add.at(self._count[row.name], self._code[row.name][items[items >= 0]], 1.0)
            self._total[f"all_{row.name}"] += len(items)

    def of_user(self, visitor: Visitor) -> Columns:
        return {name: total.copy() for name, total in self._total.items()}

    def of_rows(self, visitor: Visitor, rows: np.ndarray) -> Columns:
        unknown = np.flatnonzero(rows < 0)
        columns = {name: self._count[name].take(code.take(rows)) for name, code in self._code.items()}
        for values in columns.values() if len(unknown) else ():
            values[unknown] = 0.0
        return columns

    @property
    def memories(self) -> Memories:
        of_items = {row.name: self._count[row.name] for row in COUNTS if row.by == "item"}
        others = {name: count[None] for name, count in self._count.items() if name not in of_items}
        return {"items": ItemRows(of_items), "market": market_rows(self._total | others)}

    def saved(self) -> Mapping[str, np.ndarray]:
        return self._count | {name: total[0] for name, total in self._total.items()}

    def restore(self, saved: Mapping[str, np.ndarray]) -> None:
        self._count = {name: lengthened(saved[name], len(count)) for name, count in self._count.items()}
        self._total = {name: np.atleast_1d(saved[name]).astype(np.float64) for name in self._total}
