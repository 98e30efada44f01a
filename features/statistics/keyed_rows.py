"""Keyed rows: the rows of many keys as one block of columns, so that none of their work is a loop over keys.

A table of them by name is a block of everybody, and those that changed since apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

Rows = Mapping[str, np.ndarray]  # columns [m, ...] of one key
CHANGED = 0.25  # share of a table's names from which on its block is written anew


@dataclass(frozen=True, eq=False)
class KeyedRows:
    """Rows of K keys, one key's behind another's: `lengths` int64 [K], `columns` [sum of lengths, ...]."""

    lengths: np.ndarray
    columns: Rows

    @classmethod
    def of(cls, parts: Sequence[Rows], nothing: Rows) -> KeyedRows:
        """Of each key's rows; `nothing` has the columns without rows."""
        first = next(iter(nothing))
        lengths = np.array([len(part[first]) for part in parts], np.int64)
        columns = {name: np.concatenate([empty, *(part[name] for part in parts)]) for name, empty in nothing.items()}
        return cls(lengths, columns)

    @cached_property
    def starts(self) -> np.ndarray:
        """int64 [K]: where each key's rows begin."""
        return np.cumsum(self.lengths) - self.lengths

    @cached_property
    def owner(self) -> np.ndarray:
        """int64 [rows]: the key of each."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    def of_key(self, key: int) -> Rows:
        if len(self.lengths) == 1:
            return self.columns
        start = self.starts[key]
        return {name: values[start : start + self.lengths[key]] for name, values in self.columns.items()}

    def part(self, starts: np.ndarray, lengths: np.ndarray) -> KeyedRows:
        """Other keys' rows: those of `lengths` [K'] from rows `starts` on; copied."""
        rows = places(starts, lengths)
        return KeyedRows(lengths, {name: values[rows] for name, values in self.columns.items()})

    def replaced(self, keys: Sequence[int], rows: KeyedRows) -> KeyedRows:
        """With other rows of some keys."""
        stacked = {name: np.concatenate([values, rows.columns[name]]) for name, values in self.columns.items()}
        starts, lengths = self.starts.copy(), self.lengths.copy()
        starts[keys], lengths[keys] = len(self.owner) + rows.starts, rows.lengths
        return KeyedRows(lengths, stacked).part(starts, lengths)

    def smaller(self, name: str, keys: np.ndarray, values: np.ndarray, *, same: bool = False) -> np.ndarray:
        """int64 [m]: how many rows of each of `keys`, sorted by a column, have less than the value; or the `same`."""
        column, low = self.columns[name], self.starts[keys]
        high = low + self.lengths[keys]
        while (left := low < high).any():
            middle = (low + high) >> 1
            cells = column[np.where(left, middle, 0)]
            below = left & ((cells <= values) if same else (cells < values))
            low, high = np.where(below, middle + 1, low), np.where(below | ~left, high, middle)
        return low - self.starts[keys]

    def inserted(self, keys: np.ndarray, place: np.ndarray, columns: Rows) -> KeyedRows:
        """With more rows, each before its key's row `place` (its length = behind them); sorted by key and place."""
        at = self.starts[keys] + place + np.arange(len(keys))
        old = np.ones(len(self.owner) + len(keys), bool)
        old[at] = False
        merged = {}
        for name, values in self.columns.items():
            merged[name] = np.empty((len(old), *values.shape[1:]), values.dtype)
            merged[name][old], merged[name][at] = values, columns[name]
        return KeyedRows(self.lengths + np.bincount(keys, minlength=len(self.lengths)), merged)


class NamedTable:
    """Rows of columns by name."""

    def __init__(self, dtypes: Mapping[str, np.dtype | type]) -> None:
        self.nothing: Rows = {name: np.zeros(0, kind) for name, kind in dtypes.items()}
        self.put([], KeyedRows.of([], self.nothing))

    def names(self) -> list[str]:
        """Of those that have rows."""
        lengths = self._block.lengths.tolist()
        kept = [name for name, length in zip(self._row, lengths, strict=True) if length and name not in self._changed]
        first = next(iter(self.nothing))
        return kept + [name for name, rows in self._changed.items() if len(rows[first])]

    def get(self, name: str | None) -> Rows:
        """None = unknown, of which nothing is known."""
        if name in self._changed:
            return self._changed[name]
        return self._block.of_key(self._row[name]) if name in self._row else self.nothing

    def take(self, names: Sequence[str]) -> KeyedRows:
        """The rows of each, which may be written to."""
        keys = np.array([self._row.get(name, -1) for name in names], np.int64)
        starts, lengths = (np.append(values, 0)[keys] for values in (self._block.starts, self._block.lengths))
        rows = self._block.part(starts, lengths)
        apart = [key for key, name in enumerate(names) if name in self._changed] if self._changed else []
        if not apart:
            return rows
        return rows.replaced(apart, KeyedRows.of([self._changed[names[key]] for key in apart], self.nothing))

    def put(self, names: Sequence[str], rows: KeyedRows) -> None:
        """Remember these, and forget all others."""
        self._row = {name: key for key, name in enumerate(names)}
        self._block, self._changed = rows, dict[str, Rows]()

    def replace(self, names: Sequence[str], rows: KeyedRows) -> None:
        """Remember these in place of what was known of the same names."""
        if len(names) < CHANGED * len(self._row):
            self._changed |= {name: rows.of_key(key) for key, name in enumerate(names)}
            return
        everyone = list(dict.fromkeys([*self._row, *self._changed, *names]))
        key = {name: key for key, name in enumerate(everyone)}
        self.put(everyone, self.take(everyone).replaced([key[name] for name in names], rows))


def places(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """int64 [sum of lengths]: the numbers from each of `starts` on, as many as its length says."""
    ends = np.cumsum(lengths)
    return np.repeat(starts - (ends - lengths), lengths) + np.arange(ends[-1] if len(ends) else 0)
