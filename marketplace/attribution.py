"""From slates and feedback to labels: what came of every item that was shown.

Conventions: an event counts for the item of the slate that it names when slate.time <= event.time < slate.time +
window. Known at `as_of` is what happened strictly before it. Each event falls into exactly one of the counts.
An order or a cart implies a click, and each of the three that the item was seen, even where that event was lost or
never sent: the model's ctcvr = ctr * cvr has no order without a click. Data without a single impression event does
not record what was seen: there everything shown counts as seen.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from marketplace.keys import rows_of
from marketplace.repeats import repeated
from marketplace.schema import EVENT_CODE, EVENTS, INTERESTS, LABELLED_EVENTS, MICROSECOND, SchemaError, microseconds_of
from marketplace.slate_columns import flat, item_offsets, request_of_rows, shown, to_numpy

LABELS = pa.schema(
    [
        pa.field("seen", pa.bool_(), nullable=False),
        pa.field("click", pa.bool_(), nullable=False),
        pa.field("cart", pa.bool_(), nullable=False),
        pa.field("order", pa.bool_(), nullable=False),
        pa.field("returned", pa.bool_(), nullable=False),
        pa.field("order_value", pa.float64(), nullable=False),  # sum of the orders' amounts, before returns, currency
        pa.field("refunded", pa.float64(), nullable=False),  # sum of the returns' amounts, currency
        pa.field("kept_order", pa.bool_(), nullable=False),  # ordered, and neither refused at the door nor returned
        pa.field("net_value", pa.float64(), nullable=False),  # order_value - refunded, at least 0, currency
        pa.field("mature", pa.bool_(), nullable=False),  # every window but the returns' has closed
        pa.field("return_mature", pa.bool_(), nullable=False),  # the returns' window has closed as well
    ]
)


# What heads are learned of, by the event that has to be recorded.
EVENT_OF_LABEL = {
    "click": "click",
    "cart": "cart",
    "order": "order",
    "order_value": "order",
    "kept_order": "return",
    "net_value": "return",
}


def recorded_labels(feedback: pa.Table) -> tuple[str, ...]:
    """The labels whose event the feedback records at all: of the others nothing is known, not even that it was rare."""
    events = set(pc.unique(feedback["event"].cast(pa.string())).to_pylist())
    return tuple(label for label, event in EVENT_OF_LABEL.items() if event in events)


@dataclass(frozen=True)
class AttributionWindows:
    """How long after the slate's time each event still counts."""

    impression: timedelta = timedelta(hours=1)
    click: timedelta = timedelta(hours=24)
    cart: timedelta = timedelta(days=3)
    order: timedelta = timedelta(days=7)
    returned: timedelta = timedelta(days=45)

    def microseconds(self) -> np.ndarray:
        """int64 [7]: in the order of `schema.EVENTS`; 0 where an event is no label."""
        values = (self.impression, self.click, self.cart, self.order, self.returned)
        windows = [value // MICROSECOND for value in values]
        return np.array(windows + [0] * len(INTERESTS), np.int64)


@dataclass(frozen=True)
class AttributionCounts:
    """Where every event went; counts of disjoint feedback add up with `+`."""

    events: int = 0  # all that were given; the sum of the others down to `other_currency`
    used: int = 0
    future: int = 0  # not known at as_of
    unlabelled: int = 0  # a view or an entry of a wish list: they are no label
    duplicate: int = 0  # an earlier event has the feedback_id
    without_request: int = 0  # it answers no slate, by its own account
    orphan_request: int = 0  # its slate is not among those given
    other_user: int = 0  # its slate was another shopper's, in another visit
    orphan_item: int = 0  # its slate did not show the item
    early: int = 0  # before its slate: a clock is wrong
    late: int = 0  # after its window
    bad_amount: int = 0  # an order or return whose amount is negative or not finite
    other_currency: int = 0  # an order or return in another currency than its slate
    priced_as_shown: int = 0  # of `used`: orders and returns without amount, taken at the price shown
    without_order: int = 0  # of `used`: returns of items without an order; they change no label

    @property
    def without_use(self) -> dict[str, int]:
        """How many events count for no item, by reason, without zeros; what is yet to come or no label is no reason."""
        named = {reason: getattr(self, reason) for reason in REASONS[3:]}
        return {reason: count for reason, count in named.items() if count}

    def __add__(self, other: AttributionCounts) -> AttributionCounts:
        return AttributionCounts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


# What became of an event, each exactly one: counted for an item, or the first reason against it.
REASONS = tuple(f.name for f in fields(AttributionCounts))[1:13]


@dataclass(frozen=True)
class WholeLog:
    """What only the whole of a log tells, for whoever attributes a part of it."""

    impressions: bool  # whether any was recorded
    repeats: np.ndarray  # bool [events of the part]: an earlier event of the log has the feedback_id


@dataclass(frozen=True)
class Attribution:
    """`labels` has one row per item of `slates`, in the order of their flat columns."""

    slates: pa.Table  # SLATE, those answered before as_of
    labels: pa.Table  # LABELS [N]
    counts: AttributionCounts
    reason: np.ndarray  # int64 [events]: what became of each, as REASONS numbers it


def attribute(
    slates: pa.Table,
    feedback: pa.Table,
    *,
    windows: AttributionWindows | None = None,
    as_of: datetime | None = None,
    whole: WholeLog | None = None,
) -> Attribution:
    """Join `slates` (SLATE) and `feedback` (FEEDBACK) into labels, with what was known at `as_of`; None = all there is.

    Without `as_of` the data's last slate or event is taken as the present, so that the end of a data set is not
    taken for silence. `whole` None = they are all of the log. An item that occurs twice in one slate
    receives its events at the first place shown. Raises SchemaError for a request_id that occurs twice.
    """
    limits = (windows or AttributionWindows()).microseconds()
    now = _now(slates, feedback) if as_of is None else microseconds_of(as_of)
    slates = slates.filter(pa.array(_times(slates) < now))
    _refuse_repeats(slates)
    request, row = _rows_of(slates, feedback)
    amount, priced = _amounts(slates, feedback, row)
    whole = whole or WholeLog(_any_impressions(feedback, now), _repeats(feedback, now))
    against = _reasons(slates, feedback, request, row, repeats=whole.repeats, limits=limits, now=now)
    against |= _money_reasons(slates, feedback, row, amount)
    reason = np.select([against[name] for name in REASONS[1:]], range(1, len(REASONS)), 0)
    keep = reason == 0
    event = _codes(feedback["event"], EVENTS)[keep]
    labels = _labels(slates, row[keep], event, amount[keep], assume_seen=not whole.impressions)
    age = np.repeat(now - _times(slates), np.diff(item_offsets(slates)))
    labels |= {"mature": age >= limits[:4].max(), "return_mature": age >= limits.max()}
    counts = dict(zip(REASONS, np.bincount(reason, minlength=len(REASONS)).tolist(), strict=True))
    counts |= {"events": len(feedback), "priced_as_shown": int((priced & keep).sum())}
    counts["without_order"] = int((~labels["order"][row[keep]] & (event == EVENT_CODE["return"])).sum())
    return Attribution(slates, pa.table(labels).select(LABELS.names).cast(LABELS), AttributionCounts(**counts), reason)


def _reasons(
    slates: pa.Table,
    feedback: pa.Table,
    request: np.ndarray,
    row: np.ndarray,
    *,
    repeats: np.ndarray,
    limits: np.ndarray,
    now: int,
) -> dict[str, np.ndarray]:
    """By reason the events (bool) that it keeps from the item of their `request` and `row` (-1 = none)."""
    delay = _times(feedback) - np.append(_times(slates), 0)[request]
    event = _codes(feedback["event"], EVENTS)
    limit = limits[event]
    return {
        "future": _times(feedback) >= now,
        "duplicate": repeats,
        "unlabelled": event >= len(LABELLED_EVENTS),
        "without_request": to_numpy(feedback["request_id"].is_null()),
        "orphan_request": request < 0,
        "other_user": ~of_one_shopper(slates, feedback, request),
        "orphan_item": row < 0,
        "early": delay < 0,
        "late": delay >= limit,
    }


def of_one_shopper(slates: pa.Table, feedback: pa.Table, request: np.ndarray) -> np.ndarray:
    """bool [events]: by the shopper of its slate, or in the same visit: who logs in on the way is the same one."""
    same = np.zeros(len(feedback), bool)
    for name in ("user_id", "session_id"):
        known = pc.unique(slates[name].cast(pa.string()).drop_null())
        theirs = rows_of(feedback[name], known)
        same |= (theirs >= 0) & (theirs == np.append(rows_of(slates[name], known), -1)[request])
    return same


def _money_reasons(slates: pa.Table, feedback: pa.Table, row: np.ndarray, amount: np.ndarray) -> dict[str, np.ndarray]:
    money = _of_money(feedback)
    currencies = pc.unique(feedback["currency"].cast(pa.string()).drop_null())
    of_slate = np.append(rows_of(slates["currency"], currencies), -1)
    stated = rows_of(feedback["currency"], currencies)
    other = (stated >= 0) & (stated != of_slate[np.append(request_of_rows(slates), -1)[row]])
    return {"bad_amount": money & ~(np.isfinite(amount) & (amount >= 0)), "other_currency": money & other}


def _amounts(slates: pa.Table, feedback: pa.Table, row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Per event its amount, the price shown where an order or return names none, and where that was so."""
    missing = to_numpy(feedback["amount"].is_null())
    missing &= _of_money(feedback)
    price = np.append(to_numpy(flat(slates, "price")), np.nan)[row]
    return np.where(missing, price, to_numpy(feedback["amount"].fill_null(0.0))), missing


def _labels(
    slates: pa.Table, row: np.ndarray, event: np.ndarray, amount: np.ndarray, *, assume_seen: bool
) -> dict[str, np.ndarray]:
    on_page = shown(slates)
    size = len(on_page)
    seen, click, cart, order, returned = (_flag(row[event == code], size) for code in range(len(LABELLED_EVENTS)))
    click |= cart | order
    returned &= order

    def total(name: str) -> np.ndarray:
        counted = event == EVENT_CODE[name]
        return np.bincount(row[counted], weights=amount[counted], minlength=size)

    value, refunded = total("order"), np.where(returned, total("return"), 0.0)
    return {
        "seen": on_page if assume_seen else seen | click,
        "click": click,
        "cart": cart,
        "order": order,
        "returned": returned,
        "order_value": value,
        "refunded": refunded,
        "kept_order": order & ~returned,
        "net_value": np.maximum(value - refunded, 0.0),
    }


def _flag(rows: np.ndarray, size: int) -> np.ndarray:
    flags = np.zeros(size, bool)
    flags[rows] = True
    return flags


def _rows_of(slates: pa.Table, feedback: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Per event the slate it names and its row in the flat items; -1 = none."""
    request = rows_of(feedback["request_id"], slates["request_id"])
    items = pc.unique(flat(slates, "item_id").dictionary)
    item = rows_of(feedback["item_id"], items)
    places = np.flatnonzero(shown(slates))
    shown_keys = (request_of_rows(slates) * len(items) + rows_of(flat(slates, "item_id"), items))[places]
    event_keys = np.where((request >= 0) & (item >= 0), request * len(items) + item, -1)
    matches = rows_of(pa.array(event_keys), pa.array(shown_keys))
    return request, np.where(matches >= 0, np.append(places, -1)[matches], -1)


def _refuse_repeats(slates: pa.Table) -> None:
    first = rows_of(slates["request_id"], slates["request_id"])
    if (first != np.arange(len(slates))).any():
        row = int(np.argmax(first != np.arange(len(slates))))
        raise SchemaError(
            f"slates: request_id {slates['request_id'][row].as_py()!r} occurs twice (rows {first[row]} and {row}); "
            "an event could belong to either. Keep one of them."
        )


def _codes(column: pa.ChunkedArray, names: tuple[str, ...]) -> np.ndarray:
    codes = rows_of(column, pa.array(names))
    if (codes < 0).any():
        row = int(np.argmax(codes < 0))
        raise SchemaError(f"feedback row {row}: event {column[row].as_py()!r} is none of {names}.")
    return codes


def _of_money(feedback: pa.Table) -> np.ndarray:
    """bool [events]: orders and returns."""
    return np.isin(_codes(feedback["event"], EVENTS), [EVENT_CODE["order"], EVENT_CODE["return"]])


def _repeats(feedback: pa.Table, now: int) -> np.ndarray:
    """bool [events]: of those known by `now`, the repeats."""
    known = _times(feedback) < now
    repeats = np.zeros(len(feedback), bool)
    repeats[known] = repeated(feedback.filter(pa.array(known)))
    return repeats


def _any_impressions(feedback: pa.Table, now: int) -> bool:
    return bool(((_codes(feedback["event"], EVENTS) == EVENT_CODE["impression"]) & (_times(feedback) < now)).any())


def _times(table: pa.Table) -> np.ndarray:
    return to_numpy(table["time"].cast(pa.int64()))


def _now(slates: pa.Table, feedback: pa.Table) -> int:
    return int(max(_times(table).max(initial=-1) for table in (slates, feedback))) + 1
