"""Slates in memory as an Arrow record batch: what the log appends for every request, so that it counts in microseconds.

All values of one Arrow type are converted in one call, and every column is a slice of that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate, chain
from typing import Any

import numpy as np
import pyarrow as pa

from marketplace import slate_columns
from marketplace.schema import ITEM_FIELDS, REQUEST_FIELDS

LIST_MAPS = ("numeric", "categorical", "predictions")
SCALAR_MAPS = ("context", "weights")
SCALARS = tuple(f.name for f in REQUEST_FIELDS if not pa.types.is_map(f.type))
ITEM_LISTS = tuple(f.name for f in ITEM_FIELDS if not pa.types.is_map(f.type))
TEXT = pa.string()
LIST_KINDS = {str(kind): kind for kind in (TEXT, pa.float32(), pa.float64(), pa.int32())}  # a type is slow to hash


def slates_to_batch(slates: Sequence[Any]) -> pa.RecordBatch:
    """Rows of `slate_columns.PLAIN_SLATE` from `slate.Slate`s: text, since dictionaries cost a single slate more."""
    text, lists = _TextPool(), {name: _ListPool(kind) for name, kind in LIST_KINDS.items()}
    pending = []
    for name, put in LAYOUTS:
        pending.append(put([getattr(slate, name) for slate in slates], text, lists))
    flat = pa.array(text.values, TEXT)
    made = {name: pool.convert() for name, pool in lists.items()}
    return pa.RecordBatch.from_arrays([column(flat, made) for column in pending], schema=slate_columns.PLAIN_SLATE)


class _TextPool:
    """Text of many columns, one after another."""

    def __init__(self) -> None:
        self.values: list[str | None] = []

    def put(self, values: Iterable[str | None]) -> slice:
        start = len(self.values)
        self.values.extend(values)
        return slice(start, len(self.values))


class _ListPool:
    """Lists of one Arrow type, of many columns one after another."""

    def __init__(self, kind: pa.DataType) -> None:
        self._kind = kind
        self._cells: list[np.ndarray] = []

    def put(self, cells: Iterable[np.ndarray]) -> slice:
        start = len(self._cells)
        self._cells.extend(cells)
        return slice(start, len(self._cells))

    def convert(self) -> pa.ListArray:
        cells = self._cells
        offsets = np.fromiter(accumulate(map(len, cells), initial=0), np.int32, len(cells) + 1)
        values = np.concatenate(cells) if cells else np.zeros(0, object)
        return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values, self._kind))


Lists = Mapping[str, _ListPool]
Column = Callable[[pa.Array, Mapping[str, pa.ListArray]], pa.Array]
Put = Callable[[list[Any], _TextPool, Lists], Column]


def _text(cells: list[Any], text: _TextPool, lists: Lists) -> Column:
    place = text.put(cells)
    return lambda flat, made: flat[place]


def _scalar(kind: pa.DataType) -> Put:
    return lambda cells, text, lists: lambda flat, made: pa.array(cells, kind)


def _list(kind: pa.DataType) -> Put:
    values = str(kind.value_type)

    def put(cells: list[Any], text: _TextPool, lists: Lists) -> Column:
        place = lists[values].put(cells)
        return lambda flat, made: made[values][place]

    return put


def _map(kind: pa.DataType) -> Put:
    item = kind.item_type

    def put(cells: list[Any], text: _TextPool, lists: Lists) -> Column:
        keys = text.put(chain.from_iterable(cells))
        items = [value for cell in cells for value in cell.values()]
        return lambda flat, made: pa.MapArray.from_arrays(_offsets(cells), flat[keys], pa.array(items, item), type=kind)

    return put


def _map_of_lists(kind: pa.DataType) -> Put:
    values = str(kind.item_type.value_type)

    def put(cells: list[Any], text: _TextPool, lists: Lists) -> Column:
        keys = text.put(chain.from_iterable(cells))
        place = lists[values].put(chain.from_iterable(cell.values() for cell in cells))
        return lambda flat, made: pa.MapArray.from_arrays(_offsets(cells), flat[keys], made[values][place], type=kind)

    return put


def _offsets(cells: list[Any]) -> pa.Array:
    return pa.array(np.fromiter(accumulate(map(len, cells), initial=0), np.int32, len(cells) + 1))


def _layout(name: str, kind: pa.DataType) -> Put:
    """How a column's cells, one a slate, are collected, and what makes the column of them afterwards."""
    if name in LIST_MAPS:
        return _map_of_lists(kind)
    if name in SCALAR_MAPS:
        return _map(kind)
    if name in ITEM_LISTS:
        return _list(kind)
    return _text if kind == TEXT else _scalar(kind)


LAYOUTS = [(f.name, _layout(f.name, f.type)) for f in slate_columns.PLAIN_SLATE]
