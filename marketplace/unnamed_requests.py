"""Requests of events that name none: the shopper's own latest list that showed the item within the event's window.

Only where no event of a log names its request: beside events that do, one that does not answers no list.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from marketplace.attribution import AttributionWindows
from marketplace.keys import rows_of
from marketplace.schema import EVENTS, FEEDBACK
from marketplace.slate_columns import flat, request_of_rows, shown, to_numpy


def with_requests(slates: pa.Table, feedback: pa.Table) -> tuple[pa.Table, int]:
    """FEEDBACK with the requests of the events that could be joined, and how many; unchanged where one is named."""
    if len(slates) == 0 or feedback["request_id"].null_count < len(feedback):
        return feedback, 0
    request = latest_lists(slates, feedback)
    names = slates["request_id"].take(pa.array(request, mask=request < 0))
    place = feedback.column_names.index("request_id")
    return feedback.set_column(place, FEEDBACK.field("request_id"), names), int((request >= 0).sum())


def latest_lists(slates: pa.Table, feedback: pa.Table, *, windows: AttributionWindows | None = None) -> np.ndarray:
    """int64 [E]: per event the row of its shopper's latest list that showed its item, -1 = none within the window."""
    users = pc.unique(slates["user_id"].cast(pa.string()))
    items = pc.unique(flat(slates, "item_id").cast(pa.string()))
    places = np.flatnonzero(shown(slates))
    request = request_of_rows(slates)[places]
    pair = rows_of(slates["user_id"], users)[request] * len(items) + rows_of(flat(slates, "item_id"), items)[places]
    pairs, pair = np.unique(pair, return_inverse=True)
    times, rank = np.unique(_times(slates), return_inverse=True)
    key = pair * len(times) + rank[request]
    order = np.argsort(key, kind="stable")

    user, item = rows_of(feedback["user_id"], users), rows_of(feedback["item_id"], items)
    theirs = np.where((user >= 0) & (item >= 0), user * len(items) + item, -1)
    row = rows_of(pa.array(theirs), pa.array(pairs))
    at = np.searchsorted(times, _times(feedback), side="right") - 1
    latest = np.searchsorted(key[order], row * len(times) + at, side="right") - 1
    latest = np.where((row >= 0) & (at >= 0), latest, -1)
    known = latest >= 0
    chosen = order[np.maximum(latest, 0)] if len(order) else np.zeros(len(feedback), np.int64)
    known &= np.append(pair, -1)[chosen] == row
    limit = (windows or AttributionWindows()).microseconds()[rows_of(feedback["event"], pa.array(EVENTS))]
    result = np.append(request, -1)[np.where(known, chosen, -1)]
    known &= _times(feedback) - np.append(_times(slates), 0)[result] < limit
    return np.where(known, result, -1)


def _times(table: pa.Table) -> np.ndarray:
    return to_numpy(table["time"].cast(pa.int64()))
