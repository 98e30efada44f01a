"""What a watcher says of a day: figures that depart, the alerts that they make, and the day as it was judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from evaluation.monitoring.causes import Cause
from evaluation.monitoring.day_log import FeatureDifference

NAMED = 10  # slates of an alert


@dataclass(frozen=True)
class Departure:
    """A figure that departs: its value, what was usual, and P(as odd on a usual day); `distances` of a distribution."""

    figure: str
    value: float
    usual: float
    p_value: float
    request_ids: tuple[str, ...] = ()
    distances: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Alert:
    """One cause on one day; `since` = the first day of those on which it alarms without a day between."""

    day: datetime
    cause: Cause
    since: datetime
    departures: tuple[Departure, ...]

    @property
    def is_new(self) -> bool:
        return self.since == self.day

    @property
    def request_ids(self) -> tuple[str, ...]:
        """Slates to look at, those of the strongest signs first."""
        return tuple(dict.fromkeys(name for one in self.departures for name in one.request_ids))[:NAMED]

    def to_row(self) -> dict[str, object]:
        """One line of the alerts' file."""
        return {
            "day": f"{self.day:%Y-%m-%d}",
            "cause": self.cause.name,
            "since": f"{self.since:%Y-%m-%d}",
            "meaning": self.cause.meaning,
            "runbook": self.cause.runbook,
            "request_ids": list(self.request_ids),
            "figures": [
                {"figure": one.figure, "value": one.value, "usual": one.usual, "p_value": one.p_value}
                | ({"distances": dict(one.distances)} if one.distances else {})
                for one in self.departures
            ],
        }


@dataclass(frozen=True)
class JudgedDay:
    """A day's figures [C] by name beside what was usual (NaN = could not be forecast), and its alerts."""

    day: datetime
    values: Mapping[str, float]
    usual: Mapping[str, float]
    judged: int  # figures that could be judged
    alerts: tuple[Alert, ...]
    skew: Mapping[str, FeatureDifference] = field(default_factory=dict)  # of the features that recompute otherwise
