"""Shopping baskets of purchase-only data, as requests: nothing was shown, so nothing is said of what was shown."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from marketplace.dataset import Dataset
from marketplace.schema import SLATE
from marketplace.splits import microseconds

NONE = "none"  # a version of what did not exist when the data was recorded


def baskets(dataset: Dataset) -> pa.Table:
    """SLATE rows of the shopping baskets of a purchase-only data set, with the distinct known items bought, by time.

    `position` is 0: nothing was shown, and nothing says in which order it was looked at.
    """
    ordered = pc.equal(dataset.feedback["event"].cast(pa.string()), "order")
    known = pa.array(dataset.item_rows(dataset.feedback["item_id"]) >= 0)
    orders = dataset.feedback.filter(pc.and_(ordered, known))
    session = orders["session_id"].cast(pa.string()).combine_chunks().dictionary_encode()
    time = microseconds(orders["time"])
    code = session.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    item = orders["item_id"].cast(pa.string()).combine_chunks().dictionary_encode()
    item_code = item.indices.to_numpy(zero_copy_only=False)
    start = np.full(len(session.dictionary), np.iinfo(np.int64).max)
    np.minimum.at(start, code, time)
    order = np.lexsort((item_code, code, start[code]))
    fresh = np.append(True, (np.diff(code[order]) != 0) | (np.diff(item_code[order]) != 0))
    rows = order[fresh]
    first = np.append(True, np.diff(code[rows]) != 0)
    offsets = np.append(np.flatnonzero(first), len(rows))
    heads = rows[first]
    return _slates(
        dataset, orders, heads, rows, offsets, start[code[heads]], session.dictionary.take(pa.array(code[heads]))
    )


def _slates(
    dataset: Dataset,
    orders: pa.Table,
    heads: np.ndarray,
    rows: np.ndarray,
    offsets: np.ndarray,
    time: np.ndarray,
    request_id: pa.Array,
) -> pa.Table:
    item_id = orders["item_id"].cast(pa.string()).combine_chunks().take(pa.array(rows))
    request = {
        "request_id": request_id,
        "time": pa.array(time, pa.timestamp("us", tz="UTC")),
        "surface": _constant("home", len(heads)),
        "user_id": orders["user_id"].combine_chunks().take(pa.array(heads)),
        "session_id": request_id,
        "currency": _constant(dataset.currency, len(heads)),
    }
    n = len(rows)
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
