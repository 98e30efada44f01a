"""Packed rows: rows of keyed memories as bytes without field names; layouts are compiled once from the memories."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from features.statistics.keyed_memory import ItemRows, NamedRows, Rows

Packed = bytes | None  # None = nothing is known


class GroupLayout:
    """The rows of several memories under one name, in one text.

    First how many rows each memory has (uint32, in whole words of 8 bytes), then column after column, the
    widest first: each lies where its numbers may lie, so that reading makes views of the text and copies nothing.
    """

    def __init__(self, memories: Sequence[NamedRows]) -> None:
        self._head = struct.Struct(f"<{len(memories)}I{len(memories) % 2 * 4}x")
        self._first = [next(iter(memory.dtypes)) for memory in memories]
        columns = [
            (place, name, kind.base, kind.shape, kind.itemsize)
            for place, memory in enumerate(memories)
            for name, kind in memory.dtypes.items()
        ]
        self._columns = sorted(columns, key=lambda column: -column[2].itemsize)
        self._nothing: list[Rows] = [
            {name: np.zeros(0, kind) for name, kind in memory.dtypes.items()} for memory in memories
        ]

    def pack(self, rows: Sequence[Sequence[Rows]]) -> list[bytes]:
        """Texts of many names: `rows` of each memory [memories][names]; b"" where no memory has rows of the name."""
        lengths = np.array([[len(one[name]) for one in some] for name, some in zip(self._first, rows, strict=True)])
        parts = [[self._head.pack(*heads) if any(heads) else b"" for heads in lengths.T.tolist()]]
        for place, name, *_, size in self._columns:
            if lengths[place].any():
                whole = np.concatenate([one[name] for one in rows[place]]).tobytes()
                ends = np.cumsum([0, *lengths[place] * size]).tolist()
                parts.append([whole[start:stop] for start, stop in pairwise(ends)])
        return list(map(b"".join, zip(*parts, strict=True)))

    def unpack(self, packed: Packed) -> list[Rows]:
        """What was packed; raises ValueError for a text that this layout did not pack."""
        if packed is None:
            return self._nothing
        lengths = self._head.unpack_from(packed)
        rows = [dict(nothing) for nothing in self._nothing]
        at = self._head.size
        for place, name, kind, shape, size in self._columns:
            if length := lengths[place]:
                column = np.frombuffer(packed, kind, length * size // kind.itemsize, at)
                rows[place][name] = column.reshape(length, *shape) if shape else column
                at += length * size
        if at != len(packed):
            raise ValueError(f"{len(packed)} bytes, where rows of {lengths} take {at}")
        return list(rows)


class ItemLayout:
    """All item rows of a store as one record a catalogue row: a field for each column of each memory."""

    def __init__(self, memories: Sequence[ItemRows]) -> None:
        self._arrays = {
            f"{number}.{name}": array for number, memory in enumerate(memories) for name, array in memory.arrays.items()
        }
        self._record = np.dtype([(name, array.dtype, array.shape[1:]) for name, array in self._arrays.items()])
        self.nothing = bytes(self._record.itemsize)

    def records(self, packed: Sequence[Packed]) -> np.ndarray:
        """[m] records; None = all of it is 0."""
        return np.frombuffer(b"".join(one or self.nothing for one in packed), self._record)

    def write(self, records: np.ndarray, rows: np.ndarray) -> None:
        """Put records into the memories' `rows`."""
        for name, array in self._arrays.items():
            array[rows] = records[name]

    def read(self, rows: np.ndarray) -> np.ndarray:
        """[m] records: the memories' `rows`."""
        records = np.zeros(len(rows), self._record)
        for name, array in self._arrays.items():
            records[name] = array[rows]
        return records

    def changed(self, rows: np.ndarray, *, before: np.ndarray | None = None) -> list[tuple[int, bytes]]:
        """Those of the memories' `rows`, packed, that are other than the records `before` were; None = all were 0."""
        records = self.read(rows)
        earlier = np.zeros(len(rows), self._record) if before is None else before
        other = (_bytes_of(records) != _bytes_of(earlier)).any(axis=1)
        whole, size = records[other].tobytes(), self._record.itemsize
        return [(row, whole[at * size : (at + 1) * size]) for at, row in enumerate(rows[other].tolist())]


def _bytes_of(records: np.ndarray) -> np.ndarray:
    """uint8 [m, size of a record]"""
    return records.view(np.uint8).reshape(len(records), records.itemsize)
