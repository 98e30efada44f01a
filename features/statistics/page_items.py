"""What a candidate has to do with the item of the product page it is shown on: likeness, and visits with both.

Columns [N], NaN on other pages and for what the catalogue does not hold: `page_same_category`, `page_same_merchant` 0
or 1; `page_shared_attributes` the share of the page item's attributes that the row has; `page_words` the cosine of both
names' words; `page_price` the page item's price; `page_covisits`, `page_coorders` the earlier visits that touched, or
ordered, both: of the first MOST items of a visit, by time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from features.asof import Timeline
from features.catalogue import Catalogue
from features.interactions import KINDS, Interactions
from features.spec import Group, count, number
from features.state import Definition, Part, log_ratio
from features.statistics.keyed_memory import Memories
from features.statistics.pair_memory import MOST, PairMemory, pairs_of, visit_order
from features.statistics.point_in_time import Known, StatisticQuery, as_of
from features.statistics.statistic import Columns, EventLog, RequestRows, Visitor, pair

STREAMS = {"page_covisits": KINDS, "page_coorders": ("order",)}  # the events of which visits are counted


def _of(name: str, meaning: str) -> Definition:
    return Definition(number(Group.CROSS, name, meaning), lambda s: s[name], Part.PRODUCT_PAGES)


class PageItems:
    """Online: the items of each visit, and the visits of each pair of items."""

    name = "page_items"
    definitions: tuple[Definition, ...] = (
        _of("page_same_category", "of the page item's category: 1, else 0"),
        _of("page_same_merchant", "sold by the page item's merchant: 1, else 0"),
        _of("page_shared_attributes", "share of the page item's attributes that the item has"),
        _of("page_words", "cosine of the words of both names, rare words weighing more"),
        Definition(
            number(Group.CROSS, "page_price_ratio", "log of price over the page item's price"),
            lambda s: log_ratio(s.price, s["page_price"]),
            Part.PRODUCT_PAGES,
        ),
        Definition(
            count(Group.CROSS, "page_covisits", "earlier visits that touched it and the page's item"),
            lambda s: s["page_covisits"],
            Part.PRODUCT_PAGES,
        ),
        Definition(
            count(Group.CROSS, "page_coorders", "earlier visits that ordered it and the page's item"),
            lambda s: s["page_coorders"],
            Part.PRODUCT_PAGES,
        ),
    )
    optional = True
    without_sql = ""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._memories = {name: PairMemory(len(catalogue)) for name in STREAMS}

    @classmethod
    def point_in_time(cls) -> tuple[StatisticQuery, ...]:
        """The visits; likeness is the catalogue's."""
        sources = ",\n".join([*map(_pairs, STREAMS), PAGED])
        known = (Known(f"{name}_pairs", {name: "1"}) for name in STREAMS)
        query = as_of(*known, by=("lower", "upper"), sources=f"{sources},\n", asking="paged")

        def derived(catalogue: Catalogue, requests: RequestRows, visits: Columns) -> Columns:
            page = requests.page_item[requests.request]
            known = (page >= 0) & (requests.item >= 0)
            counts = {name: np.where(known, values, np.nan) for name, values in visits.items()}
            return likeness(catalogue, page, requests.item) | counts

        return (replace(query, derived=derived),)

    def as_of(self, log: EventLog, requests: RequestRows) -> Columns:
        page, size = requests.page_item[requests.request], len(self._catalogue)
        code, columns = unordered(page, requests.item, size=size), likeness(self._catalogue, page, requests.item)
        for name, kinds in STREAMS.items():
            events = touches(log.interactions, kinds)
            visits = visit_order(events.sessions, events.item, events.time)
            later, earlier = pairs_of(visits)
            line = Timeline(unordered(visits.item[later], visits.item[earlier], size=size), visits.time[later])
            columns[name] = np.where(code >= 0, line.before(code, requests.row_time).count, np.nan)
        return columns

    def update(self, log: EventLog) -> None:
        for name, kinds in STREAMS.items():
            self._memories[name].update(touches(log.interactions, kinds))

    def of_user(self, visitor: Visitor) -> Columns:
        return {}

    def of_rows(self, visitor: Visitor, rows: np.ndarray) -> Columns:
        if visitor.page_item < 0:
            names = (*STREAMS, "page_same_category", "page_same_merchant", "page_shared_attributes", "page_words")
            return {name: np.full(len(rows), np.nan) for name in (*names, "page_price")}
        page = np.full(len(rows), visitor.page_item, np.int32)
        code = unordered(page, rows, size=len(self._catalogue))
        counts = {name: np.where(code >= 0, memory.of(code), np.nan) for name, memory in self._memories.items()}
        return likeness(self._catalogue, page, rows) | counts

    @property
    def memories(self) -> Memories:
        visits = {f"{name}.visits": memory.visits for name, memory in self._memories.items()}
        return visits | {f"{name}.pairs": memory.pairs for name, memory in self._memories.items()}

    def saved(self) -> Mapping[str, np.ndarray]:
        return {f"{name}.{key}": value for name, memory in self._memories.items() for key, value in memory.saved()}

    def restore(self, saved: Mapping[str, np.ndarray]) -> None:
        for name, memory in self._memories.items():
            known = {key: saved[f"{name}.{key}"] for key in PairMemory.SAVED if f"{name}.{key}" in saved}
            memory.restore({"size": np.array(self._catalogue.begun_with)} | known)


def likeness(catalogue: Catalogue, page: np.ndarray, rows: np.ndarray) -> Columns:
    """What the catalogue says of pages' items and rows, int32 [N] each; NaN where either is -1."""
    known = np.flatnonzero((page >= 0) & (rows >= 0))
    one, other = page[known], rows[known]
    alike = {
        "page_same_category": catalogue.category[one] == catalogue.category[other],
        "page_same_merchant": catalogue.merchant[one] == catalogue.merchant[other],
        "page_shared_attributes": catalogue.shared_attributes(one, other),
        "page_words": catalogue.word_vectors.cosine(one, other),
        "page_price": catalogue.price[one],
    }
    columns = {name: np.full(len(rows), np.nan) for name in alike}
    for name, values in alike.items():
        columns[name][known] = values
    return columns


def _pairs(name: str) -> str:
    """The source `<name>_pairs`: pairs of items of a visit, and the later of both first touches."""
    kinds = ", ".join(f"'{kind}'" for kind in STREAMS[name])
    return f"""{name}_touches AS (
    SELECT session_id, item, min(moment) AS moment
    FROM events
    WHERE session_id IS NOT NULL AND event IN ({kinds}) AND item IN (SELECT item FROM facts)
    GROUP BY session_id, item),
{name}_visits AS (
    SELECT session_id, item, moment, row_number() OVER (PARTITION BY session_id ORDER BY moment, item) AS nth
    FROM {name}_touches),
{name}_pairs AS (
    SELECT a.item AS lower, b.item AS upper, greatest(a.moment, b.moment) AS moment
    FROM {name}_visits AS a JOIN {name}_visits AS b ON b.session_id = a.session_id
    WHERE a.item < b.item AND a.nth <= {MOST} AND b.nth <= {MOST})"""


PAGED = """paged AS (
    SELECT request_id, place, moment, least(item, page_item) AS lower, greatest(item, page_item) AS upper
    FROM candidates
    WHERE page_item IS NOT NULL)"""


def touches(events: Interactions, kinds: tuple[str, ...]) -> Interactions:
    """The events of some kinds, of known items in known visits."""
    wanted = np.isin(events.kind, [KINDS.index(kind) for kind in kinds])
    return events.select(wanted & (events.item >= 0) & (events.sessions >= 0))


def unordered(one: np.ndarray, other: np.ndarray, *, size: int) -> np.ndarray:
    """int64 code of a pair of items whichever comes first; -1 where either is unknown."""
    return pair(np.minimum(one, other), np.maximum(one, other), size=size)
