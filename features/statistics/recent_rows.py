"""Online memory of what is recent: rows of events by visit or shopper, of a span before the newest event."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from features.asof import NEVER
from features.statistics.keyed_memory import Entity, NamedRows
from features.statistics.keyed_rows import KeyedRows, NamedTable
from marketplace.splits import DAY_US

VISIT = DAY_US  # the longest memory of a visit, microseconds


class RecentRows:
    """Columns of rows by name; `time` (int64) is one of them, and the rows of each name are sorted by it."""

    def __init__(self, columns: Mapping[str, type], *, span: int = VISIT) -> None:
        """`columns`: name and dtype; `span` in microseconds."""
        self._span, self._table = span, NamedTable(columns)
        self._newest = self._swept = NEVER

    def add(self, names: pa.Array, code: np.ndarray, columns: Mapping[str, np.ndarray]) -> None:
        """Remember rows: `code` int64 [m] into `names` (-1 = unknown, left out), `columns` [m] each."""
        self._newest = max(self._newest, int(columns["time"].max(initial=NEVER)))
        oldest = self._newest - self._span
        rows = np.flatnonzero((code >= 0) & (columns["time"] >= oldest))
        rows = rows[np.lexsort((columns["time"][rows], code[rows]))]  # stable: those of one time in order of arrival
        if not len(rows):
            return
        codes, owner = np.unique(code[rows], return_inverse=True)
        owners = names.take(pa.array(codes)).to_pylist()
        new = {key: columns[key][rows] for key in self._table.nothing}
        earlier = self._table.take(owners)
        place = earlier.smaller("time", owner, new["time"], same=True)
        self._table.replace(owners, rows_since(earlier.inserted(owner, place, new), oldest))
        if oldest > self._swept + self._span:
            everyone = self._table.names()
            self._table.put(everyone, rows_since(self._table.take(everyone), oldest))
            self._swept = oldest

    def get(self, name: str | None, *, now: int) -> dict[str, np.ndarray]:
        """The rows of `name` (None = unknown) in [now - span, now), by time; those of one time in order of arrival."""
        kept = self._table.get(name)
        first, last = np.searchsorted(kept["time"], (now - self._span, now))
        return {key: values[first:last] for key, values in kept.items()}

    def of(self, entity: Entity) -> NamedRows:
        """As a keyed memory."""
        bound = f"rows within {self._span // DAY_US} d of the newest"
        return NamedRows.of(entity, lambda: self._table, bound=bound, span=self._span)

    def saved(self) -> dict[str, np.ndarray]:
        names = self._table.names()
        everyone = self._table.take(names)
        return {**everyone.columns, "names": np.array(names, np.str_), "lengths": everyone.lengths}

    def restore(self, saved: Mapping[str, np.ndarray]) -> None:
        columns = {key: saved[key] for key in self._table.nothing}
        self._table.put(saved["names"].tolist(), KeyedRows(saved["lengths"], columns))
        self._newest, self._swept = int(columns["time"].max(initial=NEVER)), NEVER


def rows_since(rows: KeyedRows, oldest: int) -> KeyedRows:
    """Those of each key, sorted by time, from `oldest` on."""
    keys = np.arange(len(rows.lengths))
    before = rows.smaller("time", keys, np.full(len(keys), oldest))
    return rows.part(rows.starts + before, rows.lengths - before) if before.any() else rows
