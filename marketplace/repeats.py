"""Repeated deliveries: one event that came in several times is one event, wherever it is counted.

Conventions: feedback is FEEDBACK [E]; answers are bool [E], True where an earlier row is the same event; of equal times
the first row stays.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from marketplace.keys import one_array, rows_of
from marketplace.slate_columns import to_numpy

MINUTE = 60_000_000  # microseconds
OF_ONE_EVENT = ("user_id", "item_id", "event", "request_id", "amount")


def repeated(feedback: pa.Table) -> np.ndarray:
    """Rows whose `feedback_id` an earlier event has."""
    order = np.argsort(to_numpy(feedback["time"].cast(pa.int64())), kind="stable")
    ids = feedback["feedback_id"].take(pa.array(order))
    repeats = np.zeros(len(feedback), bool)
    repeats[order] = rows_of(ids, ids) != np.arange(len(order))
    return repeats


def likely_repeated(feedback: pa.Table) -> np.ndarray:
    """Rows that agree with an earlier one in shopper, item, event, request, amount and second: for want of an id.

    Nothing is likely where times are whole minutes or days: there two events of a minute may be two.
    """
    time = to_numpy(feedback["time"].cast(pa.int64()))
    if not (time % MINUTE).any():
        return np.zeros(len(feedback), bool)
    group = np.unique(time, return_inverse=True)[1]
    for name in OF_ONE_EVENT:
        code = one_array(feedback[name]).dictionary_encode().indices.fill_null(-1).to_numpy(zero_copy_only=False) + 1
        group = np.unique(group * (code.max(initial=0) + 1) + code, return_inverse=True)[1]
    first = np.zeros(len(feedback), bool)
    first[np.unique(group, return_index=True)[1]] = True
    return ~first
