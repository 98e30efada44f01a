"""Presentation: how a list was shown, apart from what its items are, as numbers that examination may depend on.

Columns by name, float32 [N], all 0 where an item was not shown or nothing is recorded of it; k = its place:

    surface      of each of SURFACES: 1 and log k there, else 0
    device       of each of DEVICES groups of devices (the context's `device`, by the hash of its name): log k there
    grid         log(1 + row) and column / (columns - 1), if the context's `columns` says how many a row of the page has
    badge        1 where the item was shown with a treatment such as a coupon (`marketplace.treatment`)
    neighbours   log(price / mean price of the items before and behind it), within +-2
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from marketplace.schema import SURFACES
from marketplace.slate_columns import context, flat, request_of_rows, to_numpy
from marketplace.treatment import arm_labels

DEVICES, FARTHEST = 8, 2.0


def _surface(slates: pa.Table, position: np.ndarray, request: np.ndarray) -> list[np.ndarray]:
    names = np.asarray(slates["surface"].cast(pa.string()))[request]
    return [values for name in SURFACES for values in (names == name, (names == name) * np.log(position))]


def _device(slates: pa.Table, position: np.ndarray, request: np.ndarray) -> list[np.ndarray]:
    words = context(slates, "device").dictionary_encode()
    groups = np.array([crc32(word.encode()) % DEVICES for word in words.dictionary.to_pylist()] + [-1])
    group = groups[to_numpy(words.indices.fill_null(len(groups) - 1))][request]
    return [(group == one) * np.log(position) for one in range(DEVICES)]


def _grid(slates: pa.Table, position: np.ndarray, request: np.ndarray) -> list[np.ndarray]:
    words = context(slates, "columns")
    whole = pc.if_else(pc.match_substring_regex(words, "^[1-9][0-9]{0,2}$").fill_null(False), words, "0")
    columns = to_numpy(whole.cast(pa.int64()))[request]
    row, column = np.divmod(position - 1, np.maximum(columns, 1))
    return [(columns > 0) * np.log1p(row), (columns > 0) * column / np.maximum(columns - 1, 1)]


def _badge(slates: pa.Table, position: np.ndarray, request: np.ndarray) -> list[np.ndarray]:
    arms = arm_labels(slates)
    return [np.nan_to_num(arms["treated"]) if arms else np.zeros(len(position))]


def _neighbours(slates: pa.Table, position: np.ndarray, request: np.ndarray) -> list[np.ndarray]:
    order = np.lexsort((position, request))
    price = to_numpy(flat(slates, "price"))[order]
    same = request[order][1:] == request[order][:-1]
    near = (np.diff(position[order]) == 1) & same
    before, behind = np.append(False, near), np.append(near, False)
    total = before * np.append(0, price[:-1]) + behind * np.append(price[1:], 0)
    count = before.astype(int) + behind
    known = (count > 0) & (price > 0) & (total > 0)
    ratio = np.zeros(len(price))
    ratio[order] = np.log(np.where(known, price * np.maximum(count, 1), 1) / np.where(known, total, 1))
    return [np.clip(ratio, -FARTHEST, FARTHEST)]


COLUMNS: Mapping[str, Callable[[pa.Table, np.ndarray, np.ndarray], list[np.ndarray]]] = {
    "surface": _surface,
    "device": _device,
    "grid": _grid,
    "badge": _badge,
    "neighbours": _neighbours,
}
WIDTHS = {"surface": 2 * len(SURFACES), "device": DEVICES, "grid": 2, "badge": 1, "neighbours": 1}


def presentation(slates: pa.Table, names: Sequence[str]) -> np.ndarray:
    """float32 [N, sum of WIDTHS]: the columns of `names`, in their order."""
    position, request = to_numpy(flat(slates, "position")), request_of_rows(slates)
    place = np.maximum(position, 1)
    columns = [values for name in names for values in COLUMNS[name](slates, place, request)]
    return (np.column_stack(columns) * (position > 0)[:, None]).astype(np.float32)
