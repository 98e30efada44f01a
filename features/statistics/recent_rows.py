"""Online memory of what is recent: rows of events by visit or shopper, of a span before the newest event."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from features.asof import NEVER
from features.statistics.keyed_memory import Entity, NamedRows, Rows, cells_of
from marketplace.splits import DAY_US

VISIT = DAY_US  # the longest memory of a visit, microseconds


class RecentRows:
    """Columns of rows by name; `time` (int64) is one of them, and the rows of each name are sorted by it."""

    def __init__(self, columns: Mapping[str, type], *, span: int = VISIT) -> None:
        """`columns`: name and dtype; `span` in microseconds."""
        self._span = span
        self._nothing: dict[str, np.ndarray] = {name: np.zeros(0, kind) for name, kind in columns.items()}
        self._rows: dict[str, dict[str, np.ndarray]] = {}
        self._newest = self._swept = NEVER

    def add(self, names: pa.Array, code: np.ndarray, columns: Mapping[str, np.ndarray]) -> None:
        """Remember rows: `code` int64 [m] into `names` (-1 = unknown, left out), `columns` [m] each."""
        self._newest = max(self._newest, int(columns["time"].max(initial=NEVER)))
        oldest = self._newest - self._span
        rows = np.flatnonzero((code >= 0) & (columns["time"] >= oldest))
        codes, owner = np.unique(code[rows], return_inverse=True)
        owners = names.take(pa.array(codes)).to_pylist()
        earlier = [self._rows.get(name, self._nothing) for name in owners]
        owner = np.concatenate([np.repeat(np.arange(len(owners)), [len(one["time"]) for one in earlier]), owner])
        more = {key: np.concatenate([*(one[key] for one in earlier), columns[key][rows]]) for key in self._nothing}
        order = np.lexsort((more["time"], owner))  # stable: those of one time stay in order of arrival
        order = order[more["time"][order] >= oldest]
        more = {key: values[order] for key, values in more.items()}
        start = np.searchsorted(owner[order], np.arange(len(owners) + 1)).tolist()
        for name, part in zip(owners, map(slice, start[:-1], start[1:]), strict=True):
            self._rows[name] = {key: values[part] for key, values in more.items()}
        if oldest > self._swept + self._span:
            self._rows = {name: kept for name, kept in self._rows.items() if kept["time"][-1] >= oldest}
            self._swept = oldest

    def get(self, name: str | None, *, now: int) -> dict[str, np.ndarray]:
        """The rows of `name` (None = unknown) in [now - span, now), by time; those of one time in order of arrival."""
        kept = self._nothing if name is None else self._rows.get(name, self._nothing)
        first, last = np.searchsorted(kept["time"], (now - self._span, now))
        return {key: values[first:last] for key, values in kept.items()}

    def of(self, entity: Entity) -> NamedRows:
        """As a keyed memory."""
        dtypes = {key: cells_of(empty) for key, empty in self._nothing.items()}
        bound = f"rows within {self._span // DAY_US} d of the newest"
        return NamedRows(entity, dtypes, lambda: list(self._rows), self._take, self._put, bound, self._span)

    def _take(self, names: Sequence[str]) -> list[Rows]:
        return [self._rows.get(name, self._nothing) for name in names]

    def _put(self, rows: Mapping[str, Rows]) -> None:
        self._rows = {name: dict(columns) for name, columns in rows.items() if len(columns["time"])}

    def saved(self) -> dict[str, np.ndarray]:
        everyone = list(self._rows.values())
        columns = {
            key: np.concatenate([empty, *(one[key] for one in everyone)]) for key, empty in self._nothing.items()
        }
        lengths = np.array([len(one["time"]) for one in everyone], np.int64)
        return columns | {"names": np.array(list(self._rows), np.str_), "lengths": lengths}

    def restore(self, saved: Mapping[str, np.ndarray]) -> None:
        stop = np.cumsum(saved["lengths"]).tolist()
        parts = dict(zip(saved["names"].tolist(), map(slice, [0, *stop], stop), strict=True))
        columns = {key: saved[key] for key in self._nothing}
        self._rows = {name: {key: values[part] for key, values in columns.items()} for name, part in parts.items()}
        self._newest, self._swept = int(columns["time"].max(initial=NEVER)), NEVER
