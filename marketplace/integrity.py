"""What can be odd about a data set: rules over its tables, each with a message that says how to mend it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from marketplace.attribution import REASONS, attribute
from marketplace.dataset import Dataset
from marketplace.finding import Finding, Severity, TableOrigin, Where, count_of_rows, errors
from marketplace.keys import rows_of
from marketplace.near_identifiers import NearIdentifiers, near_identifiers
from marketplace.schema import EVENTS, SURFACES, microseconds_of
from marketplace.slate_columns import flat, item_offsets, page_places, request_of_rows

OLDEST = 631_152_000_000_000  # 1990-01-01, UTC microseconds: what lies before is a number in another unit
EPOCH, LATEST = 0, 7_258_118_400_000_000  # 1970-01-01 and 2200-01-01: what lies outside is no time of a shop
MOST = 0.5  # share of the rows above which what is odd makes a run meaningless
WARNING = Severity.WARNING
NOT_COUNTED = {  # by reason: the column that shows it, what is wrong with its value, and what to do
    "orphan_request": ("request_id", "is no known request", "Export the slates of the same period."),
    "other_user": ("user_id", "is another shopper than the slate's", "Is a request_id used for two requests?"),
    "orphan_item": ("item_id", "was not shown in its request", "Export whole lists, and positions from 1."),
    "early": ("time", "lies before its slate", "Check both clocks and time zones."),
    "late": ("time", "lies after the window of its event", "Check both clocks and time zones."),
}
PAGE_KEYS = {"search": "query", "store_page": "page_merchant_id", "product_page": "page_item_id"}  # by surface
RATES = ("commission_rate", "quality", "return_rate", "refusal_rate")


def check_dataset(
    dataset: Dataset, *, now: datetime | None = None, origins: Mapping[str, TableOrigin] | None = None
) -> list[Finding]:
    """Everything odd in `dataset`; `now` is the moment after which no event can lie (None = not checked)."""
    rules = _IntegrityRules(dataset, origins or {}, now)
    parts = (rules.emptiness(), rules.names(), rules.money(), rules.times(), rules.references(), rules.lists())
    findings = [finding for part in parts for finding in part if finding is not None]
    lost = [] if errors(findings) else [finding for finding in rules.answers() if finding is not None]
    return [*findings, *lost]


@dataclass(frozen=True)
class _IntegrityRules:
    data: Dataset
    origins: Mapping[str, TableOrigin]
    now: datetime | None

    def emptiness(self) -> Iterator[Finding | None]:
        if len(self.data.items) == 0:
            yield self._whole("items", "there are no items.", "Export the catalogue.")
        if len(self.data.slates) == 0 and len(self.data.feedback) == 0:
            reason = "there are neither slates nor feedback: a run can serve the catalogue, and learns nothing."
            fix = "Export what shoppers saw or did, or begin with the service's own log."
            yield Finding("emptiness", Where(self.data.name), reason, fix, Severity.WARNING)
        elif len(self.data.feedback) == 0:
            reason = "there is no feedback: nothing can be learned from what was shown."
            yield self._whole("feedback", reason, "Export clicks and orders.")
        elif len(self.data.slates) == 0:
            reason = "there are no slates: purchase-only data, the click head is left out."
            yield self._whole("slates", reason, "Log impressions to learn click rates.", severity=WARNING)

    def names(self) -> Iterator[Finding | None]:
        keys = {"items": "item_id", "merchants": "merchant_id", "users": "user_id", "slates": "request_id"}
        for table, key in (keys | {"feedback": "feedback_id"}).items():
            severity = WARNING if table == "feedback" else Severity.ERROR
            fix = "The first is used." if table == "feedback" else "Keep one row of each, or give each its own id."
            yield self._rows(table, key, _repeats(self._column(table, key)), "occurs before", fix, severity=severity)
        for table, key, values in (("slates", "surface", SURFACES), ("feedback", "event", EVENTS)):
            bad = ~_true(pc.is_in(self._column(table, key), pa.array(values)))
            yield self._rows(table, key, bad, f"is no {key}", f"Use one of {', '.join(values)}.")

    def money(self) -> Iterator[Finding | None]:
        for table, item in (("items", False), ("slates", True)):
            price = self._flat("price") if item else self._column(table, "price")
            yield self._rows(table, "price", _not_finite(price), "is no price", "Give the price shown.", of_item=item)
            fix = "Prices are 0 or more; a refund is a `return` event."
            yield self._rows(table, "price", _below_zero(price), "is negative", fix, of_item=item)
        amount, event = self._column("feedback", "amount"), self._column("feedback", "event")
        yield self._rows("feedback", "amount", _not_finite(amount), "is no amount", "Give it, or leave it empty.")
        fix = "Amounts are 0 or more; write a refund as a `return` event with a positive amount."
        yield self._rows("feedback", "amount", _below_zero(amount), "is negative", fix)
        none = _true(pc.equal(event, "order")) & _true(pc.is_null(amount))
        fix = "Give the order's value; without it the price shown is taken."
        yield self._rows("feedback", "amount", none, "is empty for an order", fix, severity=WARNING)
        for table in ("items", "slates", "feedback"):
            bad = _true(pc.not_equal(self._column(table, "currency"), self.data.currency))
            fix = f"Convert the amounts to {self.data.currency}, or give its rate under [currencies] of the mapping."
            yield self._rows(table, "currency", bad, f"is not the data set's {self.data.currency}", fix)
        for rate in RATES:
            values = self._column("merchants", rate)
            bad = ~_true(pc.and_(pc.greater_equal(values, 0.0), pc.less_equal(values, 1.0)))
            yield self._rows("merchants", rate, bad, "is not in [0, 1]", "Write 12 % as 0.12.")

    def times(self) -> Iterator[Finding | None]:
        for table in ("slates", "feedback"):
            times = self._times(table)
            if self.now is not None:
                limit = microseconds_of(self.now)
                fix = "Check the time zone, the order of day and month, and the exporter's clock."
                yield self._rows(table, "time", times > limit, f"lies after {self.now:%Y-%m-%d %H:%M %Z}", fix)
            fix = "Check the unit: seconds read as microseconds give 1970."
            outside = (times < EPOCH) | (times >= LATEST)
            yield self._rows(table, "time", outside, "lies outside 1970 to 2199", fix)
            old = (times < OLDEST) & ~outside
            yield self._rows(table, "time", old, "lies before 1990", fix, severity=WARNING)

    def references(self) -> Iterator[Finding | None]:
        items, users = self._column("items", "item_id"), self._column("users", "user_id")
        merchants, requests = self._column("merchants", "merchant_id"), self._column("slates", "request_id")
        yield from self._unknown("slates", "item_id", items, of_item=True)
        yield from self._unknown("feedback", "item_id", items)
        yield from self._unknown("items", "merchant_id", merchants)
        yield from self._unknown("slates", "user_id", users)
        yield from self._unknown("feedback", "user_id", users)
        near = near_identifiers(self._column("feedback", "request_id"), requests)
        yield self._near("feedback", "request_id", near)

    def _unknown(self, table: str, key: str, known: pa.Array, *, of_item: bool = False) -> Iterator[Finding | None]:
        """What is near to something known, and what else is unknown: an error where most items are."""
        names, thing = self._flat(key) if of_item else self._column(table, key), key.removesuffix("_id")
        near = near_identifiers(names, known)
        yield self._near(table, key, near, of_item=of_item)
        bad = _absent(names, known) & ~(False if near is None else near.rows)
        fix = f"Add it to the {thing}s; what is unknown has no features."
        severity = Severity.ERROR if key == "item_id" and bad.sum() > len(bad) / 2 else WARNING
        yield self._rows(table, key, bad, f"is no known {thing}", fix, severity=severity, of_item=of_item)

    def _near(self, table: str, key: str, near: NearIdentifiers | None, *, of_item: bool = False) -> Finding | None:
        """Ids that differ from a known one only in how they are written: an error from a twentieth of the rows on."""
        if near is None:
            return None
        share = near.rows.mean()
        trouble = f"is no known {key.removesuffix('_id')}: {near.cause} ({near.unknown!r} for {near.known!r})"
        severity = Severity.ERROR if share >= 0.05 else WARNING
        return self._rows(table, key, near.rows, trouble, near.fix, severity=severity, of_item=of_item)

    def lists(self) -> Iterator[Finding | None]:
        slates = self.data.slates
        empty = np.diff(item_offsets(slates)) == 0
        yield self._rows("slates", "item_id", empty, "is an empty list", "Leave the request out.", severity=WARNING)
        position = self._flat("position").to_numpy(zero_copy_only=False)
        fix = "Positions count from 1; 0 = considered, not shown."
        yield self._rows("slates", "position", position < 0, "is negative", fix, of_item=True)
        place = request_of_rows(slates) * (position.max(initial=0) + 1) + position
        taken = _repeats(pa.array(place)) & (position > 0)
        fix = "Two items cannot stand in one place; is the request_id used for two requests?"
        yield self._rows("slates", "position", taken, "is taken in this request", fix, severity=WARNING, of_item=True)
        fix = "Write each item once a request; is the request_id used for two requests?"
        twice = _repeats(_pairs(request_of_rows(slates), self._flat("item_id")))
        yield self._rows("slates", "item_id", twice, "occurs twice in a request", fix, severity=WARNING, of_item=True)
        for surface, key in PAGE_KEYS.items():
            on = _true(pc.equal(self._column("slates", "surface"), surface))
            bad = on & _true(pc.is_null(self._column("slates", key)))
            fix = (
                f"Map {key}, or name the surface where the lists were shown: the service refuses {surface} without it."
            )
            yield self._rows("slates", key, bad, f"is the {key} of a list on {surface}", fix, severity=WARNING)
        gap = ~self._without_gap()
        fix = "Nothing, where lists are exported in part; else number the places of a request 1, 2, 3."
        yield self._rows("slates", "request_id", gap, "shows places with a gap", fix, severity=WARNING)

    def answers(self) -> Iterator[Finding | None]:
        """Events that count for no item of a slate, by the first reason; an error where that is most of them."""
        if len(self.data.slates) == 0 or len(self.data.feedback) == 0:
            return
        joined = attribute(self.data.slates, self.data.feedback)
        for name, (column, trouble, fix) in NOT_COUNTED.items():
            bad = joined.reason == REASONS.index(name)
            yield self._rows("feedback", column, bad, trouble, fix, severity=_by_share(bad))
        if joined.counts.used == 0:
            reason = f"of {len(self.data.feedback)} events none counts for an item that was shown."
            yield self._whole("feedback", reason, "Map request_id, or export what the same shoppers were shown.")

    def _without_gap(self) -> np.ndarray:
        """bool [R]: the distinct places shown follow one another; a second page begins where the first ended."""
        request, place = request_of_rows(self.data.slates), page_places(self.data.slates)[0]
        places = np.unique(np.stack([request, place])[:, place > 0], axis=1)
        count = np.bincount(places[0], minlength=len(self.data.slates))
        last = np.zeros(len(self.data.slates), np.int64)
        np.maximum.at(last, request, place)
        return count == last

    def _origin(self, table: str) -> TableOrigin:
        return self.origins.get(table, TableOrigin(table))

    def _whole(self, table: str, reason: str, fix: str, *, severity: Severity = Severity.ERROR) -> Finding:
        return Finding("emptiness", Where(self._origin(table).file), reason, fix, severity)

    def _column(self, table: str, name: str) -> pa.Array:
        column = getattr(self.data, table)[name].combine_chunks()
        return column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column

    def _flat(self, name: str) -> pa.Array:
        values = flat(self.data.slates, name)
        return values.cast(pa.string()) if pa.types.is_dictionary(values.type) else values

    def _times(self, table: str) -> np.ndarray:
        return self._column(table, "time").cast(pa.int64()).to_numpy(zero_copy_only=False)

    def _rows(
        self,
        table: str,
        column: str,
        bad: np.ndarray,
        trouble: str,
        fix: str,
        *,
        severity: Severity = Severity.ERROR,
        of_item: bool = False,
    ) -> Finding | None:
        """The finding for the rows in which `bad` is True, None if there is none."""
        if not bad.any():
            return None
        origin = self._origin(table)
        rows = np.flatnonzero(bad)
        row = int(rows[np.argmin([origin.row(index, of_item=of_item) for index in rows[:1000]])])
        value = (self._flat(column) if of_item else self._column(table, column))[row].as_py()
        value = f"{value:%Y-%m-%d %H:%M:%S}" if isinstance(value, datetime) else value
        where = Where(origin.file, part=origin.part(column), row=origin.row(row, of_item=of_item))
        return Finding(
            "integrity",
            where,
            f"{value!r} {trouble}{count_of_rows(len(rows), of=len(bad))}.",
            fix,
            severity,
            len(rows) / len(bad),
        )


def _by_share(bad: np.ndarray) -> Severity:
    """An error above the share MOST of the rows."""
    return Severity.ERROR if bad.sum() > MOST * len(bad) else WARNING


def _true(values: pa.Array) -> np.ndarray:
    return values.fill_null(False).to_numpy(zero_copy_only=False)


def _pairs(request: np.ndarray, names: pa.Array) -> pa.Array:
    """One number for each request and name."""
    codes = names.dictionary_encode()
    return pa.array(request * max(len(codes.dictionary), 1) + codes.indices.fill_null(0).to_numpy())


def _repeats(values: pa.Array) -> np.ndarray:
    return rows_of(values, values) != np.arange(len(values))


def _absent(values: pa.Array, among: pa.Array) -> np.ndarray:
    return ~_true(pc.is_in(values, among)) & _true(pc.is_valid(values))


def _not_finite(values: pa.Array) -> np.ndarray:
    return _true(pc.invert(pc.is_finite(values)))


def _below_zero(values: pa.Array) -> np.ndarray:
    return _true(pc.less(values, 0.0))
