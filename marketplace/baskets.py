"""Requests of data without lists: the baskets that shoppers bought, and the items that they turned to.

Nothing was shown, so nothing is said of what was shown: `position` is 0.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from marketplace.dataset import Dataset
from marketplace.keys import one_array
from marketplace.schema import SLATE, TIME
from marketplace.splits import microseconds
from marketplace.visits import in_visits

NONE = "none"  # a version of what did not exist when the data was recorded


def baskets(dataset: Dataset) -> pa.Table:
    """SLATE rows of the visits that ordered, each with the distinct known items bought, by time.

    The request is made at the visit's first order and has the visit's name.
    """
    orders = _of_known_items(dataset, ("order",))
    session = one_array(orders["session_id"]).cast(pa.string()).dictionary_encode()
    time = microseconds(orders["time"])
    code = session.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    item_code = one_array(orders["item_id"]).cast(pa.string()).dictionary_encode().indices.to_numpy()
    start = np.full(len(session.dictionary), np.iinfo(np.int64).max)
    np.minimum.at(start, code, time)
    order = np.lexsort((item_code, code, start[code]))
    fresh = _changes(code[order]) | _changes(item_code[order])
    rows = order[fresh]
    first = _changes(code[rows])
    offsets = np.append(np.flatnonzero(first), len(rows))
    request = code[rows[first]]
    return _slates(dataset, orders, rows, offsets, start[request], session.dictionary.take(pa.array(request)))


def touches(dataset: Dataset, events: Collection[str], *, most: int) -> pa.Table:
    """SLATE rows, by time, of the newest `most` moments at which a shopper turned to a known item.

    A moment is the first of a run of `events` about one item in one visit; the request has the name of its feedback.
    """
    touched = _of_known_items(dataset, events)
    columns = [one_array(touched[name]).cast(pa.string()).dictionary_encode().indices.to_numpy() for name in RUN]
    time = microseconds(touched["time"])
    order = np.lexsort((time, columns[0]))
    fresh = np.logical_or.reduce([_changes(column[order]) for column in columns])
    rows = order[fresh]
    rows = rows[np.argsort(time[rows], kind="stable")][-most:]
    names = pc.binary_join_element_wise("turned to", touched["feedback_id"].combine_chunks().take(pa.array(rows)), " ")
    return _slates(dataset, touched, rows, np.arange(len(rows) + 1), time[rows], names)


RUN = ("session_id", "item_id")  # what stays the same within a run


def _of_known_items(dataset: Dataset, events: Collection[str]) -> pa.Table:
    """The feedback of some events, in visits, about items that the catalogue holds."""
    of_kind = pc.is_in(dataset.feedback["event"].cast(pa.string()), pa.array(list(events), pa.string()))
    known = pa.array(dataset.item_rows(dataset.feedback["item_id"]) >= 0)
    return in_visits(dataset.feedback).filter(pc.and_(of_kind, known))


def _changes(values: np.ndarray) -> np.ndarray:
    """bool: where a value differs from the one before; True at the first."""
    return np.append(np.ones(min(len(values), 1), bool), np.diff(values) != 0)


def _slates(
    dataset: Dataset, events: pa.Table, rows: np.ndarray, offsets: np.ndarray, time: np.ndarray, request_id: pa.Array
) -> pa.Table:
    """SLATE rows over the events at `rows`; request r, at `time[r]`, owns rows offsets[r]:offsets[r + 1]."""
    heads, n = pa.array(rows[offsets[:-1]]), len(rows)
    item_id = one_array(events["item_id"]).cast(pa.string()).take(pa.array(rows))
    request = {
        "request_id": request_id,
        "time": pa.array(time, TIME),
        "surface": _constant("home", len(heads)),
        "user_id": one_array(events["user_id"]).take(heads),
        "session_id": one_array(events["session_id"]).take(heads),
        "currency": _constant(dataset.currency, len(heads)),
    }
    item = {
        "item_id": item_id,
        "merchant_id": dataset.of_items(item_id, "merchant_id"),
        "price": dataset.of_items(item_id, "price"),
        "source": _constant(NONE, n),
        "retrieval_score": pa.array(np.zeros(n, np.float32)),
        "merchant_value": pa.array(np.zeros(n)),
        "value": pa.array(np.zeros(n)),
        "position": pa.array(np.zeros(n, np.int32)),
        "propensity": pa.array(np.full(n, np.nan)),
    }
    return slates_of(request, item, offsets)


def slates_of(request: dict[str, pa.Array], item: dict[str, pa.Array], offsets: np.ndarray) -> pa.Table:
    """A SLATE table from request columns [R] and flat item columns [N]; versions and maps that are absent are empty."""
    columns = []
    for field in SLATE:
        if pa.types.is_list(field.type):
            values = item[field.name].cast(field.type.value_type)
            columns.append(pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values).cast(field.type))
        elif pa.types.is_map(field.type):
            columns.append(pa.array([[]] * len(offsets[1:]), field.type))
        elif field.name in request:
            columns.append(request[field.name].cast(field.type))
        elif field.nullable:
            columns.append(pa.nulls(len(offsets) - 1, field.type))
        else:
            columns.append(_constant(NONE, len(offsets) - 1))
    return pa.Table.from_arrays(columns, schema=SLATE)


def _constant(value: str, rows: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(np.zeros(rows, np.int32), pa.array([value]))
