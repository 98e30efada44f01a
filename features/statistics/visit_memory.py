"""Online memory of visits: rows of events by session, of the last VISIT before the newest event."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from features.asof import NEVER
from marketplace.splits import DAY_US

VISIT = DAY_US  # the longest memory of a visit


class VisitMemory:
    """Columns of rows by session id; `time` (int64) is one of them, and each session's rows are sorted by it."""

    def __init__(self, columns: Mapping[str, type]) -> None:
        """`columns`: name and dtype."""
        self._nothing: dict[str, np.ndarray] = {name: np.zeros(0, kind) for name, kind in columns.items()}
        self._visits: dict[str, dict[str, np.ndarray]] = {}
        self._newest = self._swept = NEVER

    def add(self, names: pa.Array, session: np.ndarray, columns: Mapping[str, np.ndarray]) -> None:
        """Remember rows: `session` int64 [m] codes into `names` (-1 = unknown, left out), `columns` [m] each."""
        time = columns["time"]
        self._newest = max(self._newest, int(time.max(initial=NEVER)))
        rows = np.flatnonzero((session >= 0) & (time >= self._newest - VISIT))
        codes, visit = np.unique(session[rows], return_inverse=True)
        visits = names.take(pa.array(codes)).to_pylist()
        earlier = [self._visits.get(name, self._nothing) for name in visits]
        touched = np.repeat(np.arange(len(visits)), [len(one["time"]) for one in earlier])
        more = {name: np.concatenate([*(one[name] for one in earlier), columns[name][rows]]) for name in self._nothing}
        visit = np.concatenate([touched, visit])
        order = np.lexsort((more["time"], visit))  # stable: those of one time stay in order of arrival
        more = {name: values[order] for name, values in more.items()}
        start = np.searchsorted(visit[order], np.arange(len(visits) + 1)).tolist()
        for name, part in zip(visits, map(slice, start[:-1], start[1:]), strict=True):
            self._visits[name] = {key: values[part] for key, values in more.items()}
        if self._newest - VISIT > self._swept:
            self._visits = {n: visit for n, visit in self._visits.items() if visit["time"][-1] >= self._newest - VISIT}
            self._swept = self._newest

    def get(self, session_id: str | None, *, now: int) -> dict[str, np.ndarray]:
        """The session's rows in [now - VISIT, now), by time; those of one time in order of arrival."""
        visit = self._nothing if session_id is None else self._visits.get(session_id, self._nothing)
        first, last = np.searchsorted(visit["time"], (now - VISIT, now))
        return {name: values[first:last] for name, values in visit.items()}

    def saved(self) -> dict[str, np.ndarray]:
        visits = list(self._visits.values())
        columns = {
            name: np.concatenate([empty, *(visit[name] for visit in visits)]) for name, empty in self._nothing.items()
        }
        lengths = np.array([len(visit["time"]) for visit in visits], np.int64)
        return columns | {"sessions": np.array(list(self._visits), np.str_), "lengths": lengths}

    def restore(self, saved: Mapping[str, np.ndarray]) -> None:
        self._visits, self._newest, self._swept = {}, NEVER, NEVER
        session = np.repeat(np.arange(len(saved["lengths"])), saved["lengths"])
        self.add(
            pa.array(saved["sessions"].tolist(), pa.string()), session, {name: saved[name] for name in self._nothing}
        )
