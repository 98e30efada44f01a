"""Feedback checks: what callers say that shoppers did is believed where it answers a slate that was shown.

An event is set apart, with a reason, unless
    unknown_request   the log holds the slate that it names
    other_shopper     that slate was shown to its shopper, or in its visit
    not_shown         with its item
    amount            amount <= REACH x price as shown x quantity (UNITS where none is sent)
    unanswered        it names a slate, or its sender may send events that answer none
    repeated_order    no order of its order id and item is on record (an order without an id is known by its slate)
What is set apart is kept in the log, and nothing learns from it. A clock that counts whole seconds
puts a click before the slate of its own second, where it would be no answer: it gets the slate's time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from marketplace.attribution import of_one_shopper
from marketplace.keys import one_array, rows_of
from marketplace.log import Log
from marketplace.schema import FEEDBACK, TIME
from marketplace.slate_columns import flat, request_of_rows, shown, to_numpy
from marketplace.splits import SECOND, microseconds

REACH = 1.5  # of price x quantity: taxes, delivery, a price that has risen since
READ = ("request_id", "time", "user_id", "session_id", "item_id", "price", "position")  # columns of a slate
UNITS = 10  # of an item in one order, where no quantity is sent


class Sender(Enum):
    """What a caller's events may be."""

    SHOPPERS = "answers to slates alone"
    ANYBODY = "answers to slates, and events that name none"
    TRUSTED = "whatever happened anywhere"


@dataclass(frozen=True)
class OrderDetails:
    """What came with each event beside FEEDBACK's columns; empty = nothing did."""

    quantity: Sequence[int | None] = ()
    order_id: Sequence[str | None] = ()


NO_DETAILS = OrderDetails()


@dataclass(frozen=True)
class CheckedFeedback:
    """`events` as they may be logged, FEEDBACK [m]; `reasons` [m] (None = believed), `order_keys` [m] (no order)."""

    events: pa.Table
    reasons: list[str | None]
    order_keys: list[str | None]


def checked(feedback: pa.Table, log: Log, *, sender: Sender, details: OrderDetails = NO_DETAILS) -> CheckedFeedback:
    """FEEDBACK with what is wrong with each event; an id that another's event or slate has taken is made its own."""
    feedback, slates = _own_request_ids(feedback, log)
    feedback = _own_feedback_ids(_not_before_their_slates(feedback, slates), log)
    reasons: list[str | None] = [None] * len(feedback)
    names = feedback["request_id"].is_valid().to_numpy(zero_copy_only=False)
    if sender is not Sender.TRUSTED:
        problems = _answers(feedback, slates, quantity=_quantities(details, len(feedback)))
        if sender is Sender.SHOPPERS:
            problems["unanswered"] = ~names
        for reason, rows in problems.items():
            for row in np.flatnonzero(rows):
                reasons[row] = reasons[row] or reason
    return CheckedFeedback(feedback, reasons, _order_keys(feedback, details))


def own_id(name: str, *parts: str | None) -> str:
    """The id of a slate or event whose name another's has taken: the same parts give the same id."""
    return f"{name}~{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]}"


def _answers(feedback: pa.Table, slates: pa.Table, *, quantity: np.ndarray) -> dict[str, np.ndarray]:
    """bool [m] by reason, of the events that name one of the `slates`; the first that holds counts."""
    named = feedback["request_id"].is_valid().to_numpy(zero_copy_only=False)
    row = rows_of(feedback["request_id"], slates["request_id"])
    known = row >= 0
    price = _price_shown(feedback, slates, row)
    amount = one_array(feedback["amount"]).to_numpy(zero_copy_only=False).astype(np.float64)
    with np.errstate(invalid="ignore"):
        beyond = (price > 0) & (amount > REACH * price * quantity)
    return {
        "unknown_request": named & ~known,
        "other_shopper": known & ~of_one_shopper(slates, feedback, row),
        "not_shown": known & np.isnan(price),
        "amount": known & beyond,
    }


def _price_shown(feedback: pa.Table, slates: pa.Table, row: np.ndarray) -> np.ndarray:
    """float64 [m]: the price at which each event's item was shown on its slate `row`; NaN = it was not shown."""
    items = pc.unique(one_array(feedback["item_id"].cast(pa.string())))
    code = rows_of(flat(slates, "item_id"), items)
    on_page = np.flatnonzero(shown(slates) & (code >= 0))
    places = request_of_rows(slates)[on_page] * len(items) + code[on_page]
    order = np.argsort(places, kind="stable")
    places, price = places[order], np.append(to_numpy(flat(slates, "price"))[on_page][order], np.nan)
    asked = row * len(items) + rows_of(feedback["item_id"], items)
    at = np.searchsorted(places, asked)
    among = (row >= 0) & (np.append(places, -1)[at] == asked)
    return price[np.where(among, at, len(places))]


def _own_request_ids(feedback: pa.Table, log: Log) -> tuple[pa.Table, pa.Table]:
    """The events, and the slates that they name.

    Where another's slate had taken a request id, the event answers the slate that was logged under an id of its own.
    """
    requests, users = feedback["request_id"].to_pylist(), feedback["user_id"].to_pylist()
    slates = log.slates_of([name for name in dict.fromkeys(requests) if name is not None], columns=READ)
    row = rows_of(feedback["request_id"], slates["request_id"])
    others = np.flatnonzero((row >= 0) & ~of_one_shopper(slates, feedback, row))
    if len(others) == 0:
        return feedback, slates
    own = {int(place): own_id(requests[place], users[place]) for place in others}
    theirs = log.slates_of(list(dict.fromkeys(own.values())), columns=READ)
    logged = set(theirs["request_id"].to_pylist())
    renamed = [own[place] if own.get(place) in logged else name for place, name in enumerate(requests)]
    return _with(feedback, "request_id", renamed), pa.concat_tables([slates, theirs])


def _not_before_their_slates(feedback: pa.Table, slates: pa.Table) -> pa.Table:
    """An event in whole seconds gets the time of its slate where that lies later in the same second."""
    row, time = rows_of(feedback["request_id"], slates["request_id"]), microseconds(feedback["time"])
    slate = np.append(microseconds(slates["time"]), -1)[row]
    moved = (row >= 0) & (time % SECOND == 0) & (time < slate) & (slate - time < SECOND)
    if not moved.any():
        return feedback
    place, times = feedback.column_names.index("time"), pa.array(np.where(moved, slate, time)).cast(TIME)
    return feedback.set_column(place, FEEDBACK.field("time"), times)


def _own_feedback_ids(feedback: pa.Table, log: Log) -> pa.Table:
    """A feedback id that is on record for another event does not make this one its repeat."""
    ids = feedback["feedback_id"].to_pylist()
    logged = log.feedback_of(list(dict.fromkeys(ids)))
    taken = dict(zip(logged["feedback_id"].to_pylist(), _identities(logged), strict=True))
    renamed = [
        name if taken.setdefault(name, event) == event else own_id(name, *event)
        for name, event in zip(ids, _identities(feedback), strict=True)
    ]
    return feedback if renamed == ids else _with(feedback, "feedback_id", renamed)


def _identities(feedback: pa.Table) -> list[tuple[str | None, ...]]:
    """What makes an event the same one, whatever its id and time."""
    columns = (feedback[name].to_pylist() for name in ("request_id", "event", "user_id", "item_id"))
    return list(zip(*columns, strict=True))


def _order_keys(feedback: pa.Table, details: OrderDetails) -> list[str | None]:
    """The shopper and the order: known by its id, else by its slate, else by the event alone."""
    columns = (feedback[name].to_pylist() for name in ("event", "user_id", "request_id", "feedback_id"))
    ids = details.order_id or [None] * len(feedback)
    keys = []
    for (event, user, slate, name), order in zip(zip(*columns, strict=True), ids, strict=True):
        by = ("order", order) if order else ("slate", slate) if slate else ("event", name)
        keys.append(json.dumps([user, *by]) if event == "order" else None)
    return keys


def _quantities(details: OrderDetails, events: int) -> np.ndarray:
    return np.array([quantity or UNITS for quantity in details.quantity or [None] * events], np.float64)


def _with(feedback: pa.Table, column: str, values: list[str | None]) -> pa.Table:
    place = feedback.column_names.index(column)
    return feedback.set_column(place, FEEDBACK.field(column), pa.array(values, pa.string()))
