"""When items began: their launch, or in data without launches the time at which the records first show them.

What the first days of the records show may be as old as anything: it counts as what always was.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa

from marketplace.dataset import Dataset
from marketplace.schema import TIME
from marketplace.slate_columns import flat, request_of_rows
from marketplace.splits import DAY_US, microseconds

OPENING = 30 * DAY_US
NEVER = np.iinfo(np.int64).max


def begun(items: pa.Table) -> np.ndarray:
    """int64 [n_items] of ITEMS: UTC microseconds, the smallest int64 where an item always was."""
    launched, seen = microseconds(items["available_from"]), microseconds(items["first_seen"])
    return np.maximum(launched, seen)


def with_first_seen(dataset: Dataset) -> Dataset:
    """The data set with `first_seen` of its items, where no launch and no first sight is recorded."""
    items, n = dataset.items, len(dataset.items)
    if not n or min(items["available_from"].null_count, items["first_seen"].null_count) < n:
        return dataset
    slates, feedback = dataset.slates, dataset.feedback
    item = np.append(dataset.item_rows(flat(slates, "item_id")), dataset.item_rows(feedback["item_id"]))
    time = np.append(microseconds(slates["time"])[request_of_rows(slates)], microseconds(feedback["time"]))
    first = np.full(n + 1, NEVER)  # the last is of what the catalogue does not hold
    np.minimum.at(first, item, time)
    later = (first[:n] >= time.min(initial=NEVER) + OPENING) & (first[:n] < NEVER) if len(time) else np.zeros(n, bool)
    seen = pa.array(first[:n], pa.int64(), mask=~later).cast(pa.timestamp("us")).cast(TIME)
    place = items.column_names.index("first_seen")
    return replace(dataset, items=items.set_column(place, items.schema.field(place), pa.chunked_array([seen])))
