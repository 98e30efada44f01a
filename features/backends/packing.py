"""Packed rows: rows of keyed memories as bytes without field names; layouts are compiled once from the memories."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

import numpy as np

from features.statistics.keyed_memory import ItemRows, NamedRows
from features.statistics.keyed_rows import KeyedRows, places

WORD = 8  # bytes
Packed = bytes | None  # None = nothing is known


class GroupLayout:
    """The rows of several memories under one name, in one text, whose bytes are a multiple of WORD.

    First how many rows each memory has (uint32, in whole words), then column after column, the widest first: each
    lies where its numbers may lie, in the text and in many that are put together.
    """

    def __init__(self, memories: Sequence[NamedRows]) -> None:
        self._head = struct.Struct(f"<{len(memories)}I{len(memories) % 2 * 4}x")
        columns = [
            (place, name, kind.base, kind.shape, kind.itemsize)
            for place, memory in enumerate(memories)
            for name, kind in memory.dtypes.items()
        ]
        self._columns = sorted(columns, key=lambda column: -column[2].itemsize)
        self._nothing = [{name: np.zeros(0, kind) for name, kind in memory.dtypes.items()} for memory in memories]
        sizes = [sum(kind.itemsize for kind in memory.dtypes.values()) for memory in memories]
        self._row_bytes = np.array(sizes)[:, None]

    def pack(self, rows: Sequence[KeyedRows]) -> list[bytes]:
        """Texts of many names: `rows` of each memory; b"" where no memory has rows of the name."""
        lengths = np.stack([one.lengths for one in rows])
        sizes = self._sizes(lengths)
        ends = np.cumsum(sizes)
        starts, known = ends - sizes, np.flatnonzero(sizes)
        whole = np.zeros(sizes.sum(), np.uint8)
        whole.view(np.uint32)[self._heads(starts[known])] = lengths[:, known]
        for place, name, kind, cells in self._cells(lengths, starts):
            whole.view(kind)[cells] = rows[place].columns[name].reshape(-1)
        packed = whole.tobytes()
        return [packed[start:stop] for start, stop in zip(starts.tolist(), ends.tolist(), strict=True)]

    def unpack(self, packed: Sequence[Packed]) -> list[KeyedRows]:
        """The rows of each memory; raises ValueError for a text that this layout did not pack."""
        if len(packed) == 1:
            return self._views(packed[0])
        texts = [one or b"" for one in packed]
        sizes = np.fromiter(map(len, texts), np.int64, len(texts))
        whole, starts, known = np.frombuffer(b"".join(texts), np.uint8), np.cumsum(sizes) - sizes, np.flatnonzero(sizes)
        lengths = np.zeros((len(self._nothing), len(texts)), np.int64)
        if (sizes % WORD).any():
            raise ValueError(f"{sizes[sizes % WORD > 0][0]} bytes are no whole words of {WORD}")
        lengths[:, known] = whole.view(np.uint32)[self._heads(starts[known])]
        _check(sizes, self._sizes(lengths), lengths)
        columns = [dict(nothing) for nothing in self._nothing]
        for place, name, kind, cells in self._cells(lengths, starts):
            columns[place][name] = whole.view(kind)[cells].reshape(-1, *columns[place][name].shape[1:])
        return [KeyedRows(*one) for one in zip(lengths, columns, strict=True)]

    def _views(self, packed: Packed) -> list[KeyedRows]:
        """Of one text, of which nothing is copied."""
        if not packed:
            return [KeyedRows(np.zeros(1, np.int64), nothing) for nothing in self._nothing]
        lengths = np.array(self._head.unpack_from(packed), np.int64)
        _check(np.array([len(packed)]), self._sizes(lengths[:, None]), lengths)
        columns = [dict(nothing) for nothing in self._nothing]
        at = self._head.size
        for place, name, kind, shape, size in self._columns:
            if length := int(lengths[place]):
                column = np.frombuffer(packed, kind, length * size // kind.itemsize, at)
                columns[place][name] = column.reshape(length, *shape) if shape else column
                at += length * size
        return [KeyedRows(lengths[place : place + 1], one) for place, one in enumerate(columns)]

    def _sizes(self, lengths: np.ndarray) -> np.ndarray:
        """int64 [names]: bytes of each text, of memories' `lengths` [memories, names]."""
        rows = (lengths * self._row_bytes).sum(axis=0)
        return np.where(rows > 0, self._head.size + -(-rows // WORD) * WORD, 0)

    def _heads(self, starts: np.ndarray) -> np.ndarray:
        """int64 [memories, texts]: where the lengths of texts that begin at these bytes lie, in uint32."""
        return starts // 4 + np.arange(len(self._nothing))[:, None]

    def _cells(self, lengths: np.ndarray, starts: np.ndarray) -> Iterator[tuple[int, str, np.dtype, np.ndarray]]:
        """Memory, column, type of its numbers and where they lie, in numbers, in texts that begin at these bytes."""
        at = starts + self._head.size
        for place, name, kind, _, size in self._columns:
            yield place, name, kind, places(at // kind.itemsize, lengths[place] * (size // kind.itemsize))
            at = at + lengths[place] * size


def _check(sizes: np.ndarray, expected: np.ndarray, lengths: np.ndarray) -> None:
    if (sizes != expected).any():
        odd = np.flatnonzero(sizes != expected)[0]
        raise ValueError(f"{sizes[odd]} bytes, where rows of {lengths[..., odd]} take {expected[odd]}")


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
