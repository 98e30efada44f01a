"""Look-ups by key: the rows of a table that hold given ids, and what a column says there.

Columns are plain or dictionary-encoded; where a key column holds an id twice its first row counts.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Column: TypeAlias = pa.Array | pa.ChunkedArray


def one_array(column: Column) -> pa.Array:
    """The chunks of a column as one array, under one dictionary."""
    if isinstance(column, pa.Array):
        return column
    unified = column.unify_dictionaries() if pa.types.is_dictionary(column.type) else column
    return unified.combine_chunks()


def rows_of(ids: Column, key: Column) -> np.ndarray:
    """int64 [m]: the row of each id in `key`; -1 for null and for an id that it does not hold."""
    return _places(ids, key).fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)


def values_of(ids: Column, key: Column, column: Column) -> pa.Array:
    """[m]: what `column` holds in the row of each id of `key`; null for null and for an id that it does not hold."""
    return one_array(column).take(_places(ids, key))


def _places(ids: Column, key: Column) -> pa.Array:
    ids, key = one_array(ids), one_array(key)
    if pa.types.is_dictionary(ids.type):
        return _places(ids.dictionary, key).take(ids.indices)
    key = key.dictionary_decode() if pa.types.is_dictionary(key.type) else key
    return pc.index_in(ids.cast(key.type), value_set=key, skip_nulls=True)
