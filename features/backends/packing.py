"""Packed rows: rows of a keyed memory as bytes, record after record without a header; many keys are packed at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from features.statistics.keyed_memory import ItemRows, Rows

Packed = bytes | None  # None = nothing is known


class RowLayout:
    """The rows of one memory: a record a row, with a field a column."""

    def __init__(self, dtypes: Mapping[str, np.dtype]) -> None:
        self._names = tuple(dtypes)
        self._record = np.dtype([(name, kind.base, kind.shape) for name, kind in dtypes.items()])

    def unpack(self, packed: Sequence[Packed]) -> list[Rows]:
        """The columns of each key. Raises ValueError for bytes that are no whole rows."""
        records = np.frombuffer(b"".join(one or b"" for one in packed), self._record)
        columns = {name: np.ascontiguousarray(records[name]) for name in self._names}
        ends = np.cumsum([0, *(len(one or b"") for one in packed)]) // self._record.itemsize
        parts = [slice(start, stop) for start, stop in pairwise(ends.tolist())]
        return [{name: column[part] for name, column in columns.items()} for part in parts]

    def pack(self, rows: Sequence[Rows]) -> list[bytes]:
        """What `unpack` was given."""
        if not rows:
            return []
        ends = np.cumsum([0, *(len(one[self._names[0]]) for one in rows)])
        records = np.empty(ends[-1], self._record)
        for name in self._names:
            records[name] = np.concatenate([one[name] for one in rows])
        return _cut(records, ends)


class ItemLayout:
    """All item rows of a store in one record a catalogue row: a field for each column of each memory."""

    def __init__(self, memories: Sequence[ItemRows]) -> None:
        fields = [
            (f"{number}.{name}", array.dtype, array.shape[1:])
            for number, memory in enumerate(memories)
            for name, array in memory.arrays.items()
        ]
        self._record = np.dtype(fields)
        self.nothing = bytes(self._record.itemsize)

    def write(self, packed: bytes, memories: Sequence[ItemRows], rows: np.ndarray) -> None:
        """Put records, one after the other, into the memories' `rows`."""
        records = np.frombuffer(packed, self._record)
        for number, memory in enumerate(memories):
            for name, array in memory.arrays.items():
                array[rows] = records[f"{number}.{name}"]

    def read(self, memories: Sequence[ItemRows], rows: np.ndarray) -> list[bytes]:
        """The memories' `rows`, packed; b"" where all of a row is 0."""
        records = np.zeros(len(rows), self._record)
        for number, memory in enumerate(memories):
            for name, array in memory.arrays.items():
                records[f"{number}.{name}"] = array[rows]
        return [one if one != self.nothing else b"" for one in _cut(records, np.arange(len(rows) + 1))]


def _cut(records: np.ndarray, ends: np.ndarray) -> list[bytes]:
    whole, size = records.tobytes(), records.dtype.itemsize
    return [whole[start * size : stop * size] for start, stop in pairwise(ends.tolist())]
