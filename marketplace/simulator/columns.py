"""Arrow columns made of codes and buffers: nothing here runs a Python loop over rows."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from marketplace.schema import TIME

DAY_US = 86_400_000_000


def names(prefix: str, count: int, *, digits: int) -> pa.Array:
    """string [count]: prefix and a zero-padded number from 0 on."""
    numbers = pc.utf8_lpad(pa.array(np.arange(count)).cast(pa.string()), width=digits, padding="0")
    return pc.binary_join_element_wise(prefix, numbers, "")


def coded(codes: np.ndarray, values: pa.Array | tuple[str, ...]) -> pa.DictionaryArray:
    """A dictionary column; code -1 becomes null."""
    if not isinstance(values, pa.Array):
        values = pa.array(values, pa.string())
    codes = np.asarray(codes, np.int32)
    return pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes < 0), values)


def constant(value: str, count: int) -> pa.DictionaryArray:
    return coded(np.zeros(count, np.int32), (value,))


def times(start: datetime, days: np.ndarray) -> pa.Array:
    """UTC microseconds, `days` after `start`; NaN and infinity become null."""
    origin = int(start.astimezone(UTC).timestamp() * 1e6)
    known = np.isfinite(days)
    since = np.round(np.where(known, days, 0.0) * DAY_US).astype(np.int64)
    return pa.array(origin + since, mask=~known).cast(TIME)


def empty_map(count: int, kind: pa.MapType) -> pa.MapArray:
    """`count` maps without an entry."""
    offsets = pa.array(np.zeros(count + 1, np.int32))
    return pa.MapArray.from_arrays(offsets, pa.array([], kind.key_type), pa.array([], kind.item_type), type=kind)


def full_map(columns: dict[str, pa.DictionaryArray]) -> pa.MapArray:
    """map<string, string> with one entry a column in every row."""
    count = len(next(iter(columns.values())))
    keys = coded(np.tile(np.arange(len(columns)), count), tuple(columns)).cast(pa.string())
    stacked = pa.concat_arrays([column.cast(pa.string()) for column in columns.values()])
    by_row = np.arange(count * len(columns)).reshape(len(columns), count).T.ravel()
    offsets = pa.array(np.arange(count + 1, dtype=np.int32) * len(columns))
    return pa.MapArray.from_arrays(offsets, keys, stacked.take(pa.array(by_row)))


def lists(values: pa.Array, lengths: np.ndarray) -> pa.ListArray:
    """A list column of `values` in row order, lengths[r] to row r."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values)
