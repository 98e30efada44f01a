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
        rows = rows[np.lexsort((time[rows], session[rows]))]
        parts = np.split(rows, np.flatnonzero(np.diff(session[rows])) + 1) if len(rows) else []
        for part in parts:
            name = names[int(session[part[0]])].as_py()
            self._visits[name] = self._plus(self._visits.get(name), {key: v[part] for key, v in columns.items()})
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

    def _plus(self, visit: dict[str, np.ndarray] | None, more: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if visit is None:
            return more
        columns = {name: np.concatenate([visit[name], more[name]]) for name in more}
        order = np.argsort(columns["time"], kind="stable")
        return {name: values[order] for name, values in columns.items()}
