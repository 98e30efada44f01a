"""How the shoppers of a segment take to a category: clicks and orders for each time that its items were shown to them.

Columns [N], of the shopper's segment and the row's category: `segment_impressions`, `segment_clicks`,
`segment_orders`, those that answer a list. Shoppers of no known segment are one together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from features.asof import Timeline
from features.catalogue import Catalogue
from features.interactions import KINDS
from features.spec import Group, number
from features.state import Definition, FeatureState, Part
from features.statistics.keyed_memory import Entity, Memories, NamedRows
from features.statistics.keyed_rows import KeyedRows
from features.statistics.point_in_time import Known, StatisticQuery, as_of, when
from features.statistics.statistic import Columns, EventLog, RequestRows, Visitor, pair

SMOOTHING = 50.0  # impressions' worth of the market's rate that a segment starts with in a category
PRIOR = 10.0  # impressions' worth of the segment's rate that a shopper starts with
COLUMNS = ("segment_impressions", "segment_clicks", "segment_orders")
Events = tuple[np.ndarray, np.ndarray, np.ndarray]  # segment, catalogue row and time of each


def segment_rate(state: FeatureState, events: str) -> np.ndarray:
    """(the segment's events + s x market rate) / (impressions + s), s = SMOOTHING; float64 [N]."""
    market = state[f"all_{events}"] / np.maximum(state["all_impressions"], 1.0)
    more = SMOOTHING * state.of_request(market)
    return (state[f"segment_{events}"] + more) / (state["segment_impressions"] + SMOOTHING)


def shopper_rate(state: FeatureState) -> np.ndarray:
    """(the shopper's clicks + p x the segment's rate) / (impressions + p) of the category, p = PRIOR; float64 [N]."""
    return (state["category_clicks"] + PRIOR * segment_rate(state, "clicks")) / (state["category_shown"] + PRIOR)


def _events(log: EventLog) -> dict[str, Events]:
    shown, events = log.impressions, log.interactions
    segment = log.segments.of(shown.users, shown.user)[shown.list]
    columns: dict[str, Events] = {"segment_impressions": (segment, shown.item, shown.time[shown.list])}
    segment = log.segments.of(events.user.dictionary, events.users)
    for name, kind in (("segment_clicks", "click"), ("segment_orders", "order")):
        rows = events.answers & (events.kind == KINDS.index(kind))
        columns[name] = (segment[rows], events.item[rows], events.time[rows])
    return columns


class CategoryRates:
    """Online: counts by segment and category."""

    name = "category_rates"
    definitions: tuple[Definition, ...] = (
        Definition(
            number(Group.CROSS, "segment_ctr", "clicks per impression of the segment in the category, smoothed"),
            lambda s: segment_rate(s, "clicks"),
            Part.IMPRESSIONS,
        ),
        Definition(
            number(Group.CROSS, "segment_order_rate", "orders per impression of the segment in the category, smoothed"),
            lambda s: segment_rate(s, "orders"),
            Part.IMPRESSIONS,
        ),
        Definition(
            number(Group.CROSS, "category_ctr", "the shopper's clicks per impression in it, drawn towards segment_ctr"),
            shopper_rate,
            Part.IMPRESSIONS,
        ),
    )
    optional = False
    without_sql = ""

    def __init__(self, catalogue: Catalogue) -> None:
        self._category = catalogue.category
        self._count = {name: np.zeros((1, len(catalogue.category_names))) for name in COLUMNS}

    @classmethod
    def point_in_time(cls) -> tuple[StatisticQuery, ...]:
        kinds = {f"segment_{kind}s": when(f"answers AND event = '{kind}'") for kind in ("click", "order")}
        shown = Known("item_shown", {"segment_impressions": "1"})
        return (as_of(shown, Known("item_events", kinds), by=("segment", "category")),)

    def as_of(self, log: EventLog, requests: RequestRows) -> Columns:
        category = np.append(self._category, -1)  # row -1 reads the last
        size, columns = int(category.max(initial=0)) + 1, {}
        key = pair(requests.segment[requests.request], category[requests.item], size=size)
        for name, (segment, item, time) in _events(log).items():
            line = Timeline(pair(segment, category[item], size=size), time)
            columns[name] = requests.known(line.before(key, requests.row_time).count)
        return columns

    def update(self, log: EventLog) -> None:
        for name, (segment, item, _) in _events(log).items():
            known = item >= 0
            category = self._category[item[known]]
            known[known] = category >= 0
            cells = segment[known], category[category >= 0]
            self._count[name] = _with_room(self._count[name], *(int(code.max(initial=0)) + 1 for code in cells))
            np.add.at(self._count[name], cells, 1.0)

    def of_user(self, visitor: Visitor) -> Columns:
        return {}

    def of_rows(self, visitor: Visitor, rows: np.ndarray) -> Columns:
        category = np.where(rows >= 0, self._category[rows], -1) if len(self._category) else rows
        columns = {}
        for name, counts in self._count.items():
            known = (category >= 0) & (category < counts.shape[1]) & (visitor.segment < len(counts))
            segment = min(visitor.segment, len(counts) - 1)
            columns[name] = np.where(known, counts[segment, np.minimum(category, counts.shape[1] - 1)], 0.0)
        return columns

    @property
    def memories(self) -> Memories:
        dtypes = dict.fromkeys(COLUMNS, np.dtype(np.float64))
        bound = "one row a category"
        return {"segments": NamedRows(Entity.SEGMENT, dtypes, self._segments, self._take, self._put, bound)}

    def _segments(self) -> list[str]:
        return [str(segment) for segment in range(max(map(len, self._count.values())))]

    def _take(self, segments: Sequence[str]) -> KeyedRows:
        most = max((int(segment) for segment in segments), default=0) + 1
        categories = max(counts.shape[1] for counts in self._count.values())
        roomy = {name: _with_room(counts, most, categories) for name, counts in self._count.items()}
        codes = np.array(list(map(int, segments)), np.int64)
        lengths = np.full(len(codes), categories)
        return KeyedRows(lengths, {name: counts[codes].ravel() for name, counts in roomy.items()})

    def _put(self, segments: Sequence[str], rows: KeyedRows) -> None:
        codes = np.array(list(map(int, segments)), np.int64)
        category = np.arange(len(rows.owner)) - rows.starts[rows.owner]
        for name, counts in self._count.items():
            counts = _with_room(counts, int(codes.max(initial=-1)) + 1, int(rows.lengths.max(initial=0)))
            counts[:] = 0
            counts[codes[rows.owner], category] = rows.columns[name]
            self._count[name] = counts

    def saved(self) -> Mapping[str, np.ndarray]:
        return self._count

    def restore(self, saved: Mapping[str, np.ndarray]) -> None:
        self._count = {name: saved[name] for name in COLUMNS}


def _with_room(counts: np.ndarray, segments: int, categories: int) -> np.ndarray:
    """The counts with rows and columns of 0 behind them where there were fewer."""
    more = max(segments - counts.shape[0], 0), max(categories - counts.shape[1], 0)
    return np.pad(counts, [(0, rows) for rows in more]) if any(more) else counts
