"""History of a watched log: every day's figures, errors, and counts by bin; one JSON file, from which it resumes.

Conventions: D days in order, C figures by `names`. `kept` [D, C] says which values count as usual: those of a day that
alarmed do not, nor do figures that departed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.monitoring.inputs import Bins

MOST_DAYS = 120


@dataclass
class History:
    """What a watcher knows; `open_since`: cause -> the day since when it alarms without a day between."""

    bins: dict[str, Bins] = field(default_factory=dict)
    days: list[datetime] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    values: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))
    z: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))
    errors: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))
    kept: np.ndarray = field(default_factory=lambda: np.empty((0, 0), bool))
    counts: dict[str, list[np.ndarray | None]] = field(default_factory=dict)
    usual_days: list[bool] = field(default_factory=list)
    open_since: dict[str, datetime] = field(default_factory=dict)
    first_seen: dict[str, dict[str, datetime]] = field(default_factory=dict)  # place -> version -> its first day

    def superseded(self, place: str, version: str, before: datetime) -> bool:
        """Whether a younger version than this one was in its place before a day."""
        earlier = [other for other, day in self.first_seen.get(place, {}).items() if day < before]
        first = self._first_day(place, version)
        return any(first < self._first_day(place, other) for other in earlier)

    def _first_day(self, place: str, version: str) -> datetime:
        """Of a version, in whatever place of the same part."""
        part = place.partition(" ")[0]
        places = (seen for name, seen in self.first_seen.items() if name.partition(" ")[0] == part)
        return min((seen[version] for seen in places if version in seen), default=datetime.max.replace(tzinfo=UTC))

    def name_all(self, names: list[str]) -> None:
        """Room for figures that are new."""
        new = [name for name in names if name not in set(self.names)]
        empty = np.full((len(self.days), len(new)), np.nan)
        self.names += new
        self.values, self.z, self.errors = (np.hstack([part, empty]) for part in (self.values, self.z, self.errors))
        self.kept = np.hstack([self.kept, np.ones(empty.shape, bool)])

    def usual(self, part: np.ndarray) -> np.ndarray:
        """`part` [D, C], NaN where it is no usual day's."""
        return np.where(self.kept, part, np.nan)

    def reference(self, name: str, *, window: int) -> np.ndarray | None:
        """Counts by bin of the last `window` usual days together; None without one."""
        parts = self.counts.get(name, [])
        usual = [c for c, day in zip(parts, self.usual_days, strict=True) if c is not None and day][-window:]
        return np.sum(usual, axis=0) if usual else None

    def add(
        self,
        day: datetime,
        values: np.ndarray,
        errors: np.ndarray,
        z: np.ndarray,
        *,
        kept: np.ndarray,
        counts: Mapping[str, np.ndarray],
        usual: bool,
    ) -> None:
        """One more day [C]; the oldest goes beyond MOST_DAYS."""
        for name in counts.keys() | self.counts.keys():
            self.counts.setdefault(name, [None] * len(self.days)).append(counts.get(name))
        self.days.append(day)
        self.usual_days.append(usual)
        self.values, self.errors, self.z, self.kept = (
            np.vstack([part, row])[-MOST_DAYS:]
            for part, row in ((self.values, values), (self.errors, errors), (self.z, z), (self.kept, kept))
        )
        self.days, self.usual_days = self.days[-MOST_DAYS:], self.usual_days[-MOST_DAYS:]
        self.counts = {name: parts[-MOST_DAYS:] for name, parts in self.counts.items()}

    def accept(self, days: int) -> None:
        """Figures that departed on each of the last `days` stay there: what was before is usual no more."""
        if len(self.days) <= days:
            return
        stayed = ~self.kept[-days:].any(axis=0)
        self.kept[:-days, stayed], self.kept[-days:, stayed] = False, True
        self.errors[-days:, stayed] = np.nan
        if not any(self.usual_days[-days:]):
            self.usual_days[-days:] = [True] * days

    def write(self, path: Path) -> None:
        """Beside, then over the old one: a watcher that is killed leaves the one or the other."""
        state = {
            "bins": {name: _row(one) for name, one in self.bins.items()},
            "days": [day.isoformat() for day in self.days],
            "names": self.names,
            **{name: _cells(getattr(self, name)) for name in ("values", "z", "errors")},
            "kept": self.kept.tolist(),
            "counts": {n: [None if c is None else c.tolist() for c in parts] for n, parts in self.counts.items()},
            "usual_days": self.usual_days,
            "open_since": {cause: day.isoformat() for cause, day in self.open_since.items()},
            "first_seen": {p: {v: day.isoformat() for v, day in seen.items()} for p, seen in self.first_seen.items()},
        }
        new = path.with_suffix(".new")
        new.write_text(json.dumps(state, allow_nan=False))
        new.replace(path)

    @classmethod
    def read(cls, path: Path) -> History:
        """What was written; an empty one where nothing was. Raises ValueError for a file that is no history."""
        if not path.exists():
            return cls()
        try:
            return cls._of(json.loads(path.read_text("utf-8")))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path} is no history of a watcher ({error!r}): remove it, and the log is read anew."
            ) from error

    @classmethod
    def _of(cls, state: dict[str, Any]) -> History:
        shape = (len(state["days"]), len(state["names"]))
        values, z, errors = (np.array(state[name], float).reshape(shape) for name in ("values", "z", "errors"))
        return cls(
            bins={name: _bins(one) for name, one in state["bins"].items()},
            days=[datetime.fromisoformat(day) for day in state["days"]],
            names=state["names"],
            values=values,
            z=z,
            errors=errors,
            kept=np.array(state["kept"], bool).reshape(shape),
            counts={n: [None if c is None else np.array(c) for c in parts] for n, parts in state["counts"].items()},
            usual_days=state["usual_days"],
            open_since={cause: datetime.fromisoformat(day) for cause, day in state["open_since"].items()},
            first_seen={
                part: {version: datetime.fromisoformat(day) for version, day in seen.items()}
                for part, seen in state["first_seen"].items()
            },
        )


def _cells(values: np.ndarray) -> list[list[float | None]]:
    return [[None if not np.isfinite(cell) else cell for cell in row] for row in values.tolist()]


def _row(bins: Bins) -> dict[str, Any]:
    """As JSON has it, which knows no infinity."""
    return {name: None if cell in (np.inf, -np.inf) else cell for name, cell in asdict(bins).items()}


def _bins(row: dict[str, Any]) -> Bins:
    words, low, high = row["words"], row["low"], row["high"]
    return Bins(
        edges=tuple(row["edges"]),
        low=-np.inf if low is None else low,
        high=np.inf if high is None else high,
        words=None if words is None else tuple(words),
    )
