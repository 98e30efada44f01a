"""The watcher: a day against the days before it, and at most one alert a cause.

False alarms have a budget over all figures together: with `budget` a month and C figures that can be judged, a day's
figure departs where P(so odd on a usual day) < budget / 30 / C (Bonferroni), and it is as far off as its check demands.
A figure that stays where it went for ACCEPTED_AFTER days is the new usual.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import pyarrow as pa

from evaluation.monitoring.causes import Cause, by_cause
from evaluation.monitoring.changes import changed
from evaluation.monitoring.checks import Side, check_of
from evaluation.monitoring.day_log import DayLog, FeatureDifference
from evaluation.monitoring.distances import jensen_shannon, kolmogorov_smirnov, psi, wasserstein
from evaluation.monitoring.exposure import exposure_figures
from evaluation.monitoring.figure import Figure
from evaluation.monitoring.head_figures import head_figures
from evaluation.monitoring.history import History
from evaluation.monitoring.inputs import day_counts, input_figures, reference_bins, requests_of_bin, worst_skew
from evaluation.monitoring.traffic import BUNDLED, traffic_figures, version_figures
from evaluation.monitoring.usual import LEAST_DAYS, LEAST_ERRORS, WINDOW, forecast, surprise

MONTH = 30.0  # days
WARM_UP = LEAST_DAYS + LEAST_ERRORS  # days before the first that is judged
ACCEPTED_AFTER = 7  # days
DOUBTFUL = 2.5  # standard errors beyond which a figure of a day that alarmed is no usual one
SLOW = "slow."  # before a figure's name: a change point, where no single day departs
SHIFTED = ("drift.", "position.", "seen.", "hours")  # distributions


@dataclass(frozen=True)
class WatchLimits:
    """`budget`: false alarms a month over all figures; `least_psi`: below it a distribution has not moved."""

    budget: float = 0.25
    least_psi: float = 0.02


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
        return tuple(dict.fromkeys(name for one in self.departures for name in one.request_ids))[:10]

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


def early_figures(day: DayLog) -> dict[str, float]:
    """The figures of a day that need no day before it."""
    parts = (traffic_figures(day), exposure_figures(day), head_figures(day))
    return {name: figure.value for part in parts for name, figure in part.items()}


class Watcher:
    """Judges days in order; what it learns of them is in `history`."""

    def __init__(self, history: History, limits: WatchLimits | None = None) -> None:
        self.history = history
        self.limits = limits or WatchLimits()

    def begin(self, days: Sequence[DayLog]) -> None:
        """Take the bins of distributions from the first days."""
        self.history.bins = reference_bins(days)

    def judge(self, day: DayLog) -> JudgedDay:
        """Figures of the day, what departs, and the alerts; the day is part of the history afterwards."""
        history = self.history
        counts = day_counts(day, history.bins)
        figures = self._figures(day, counts)
        history.name_all(list(figures))
        values = np.array([figures[name].value if name in figures else np.nan for name in history.names])
        usual, seen = self._surprises(day.start, values)
        departs = self._departs(values, seen.error, seen.p_value, counts)
        z = np.where(np.isnan(seen.p_value), np.nan, seen.z)
        slow = self._slow(z, departs)
        signs = {history.names[c]: float(np.sign(seen.error[c])) for c in np.flatnonzero(departs)}
        signs |= {SLOW + history.names[c]: float(np.sign(seen.error[c])) for c in slow}
        place = {name: c for c, name in enumerate(history.names)}

        def departure(name: str) -> Departure:
            figure = name.removeprefix(SLOW)
            at = place[figure]
            rows, apart = self._evidence(day, figure, figures[figure], counts)
            return Departure(name, float(values[at]), float(usual[at]), float(seen.p_value[at]), day.ids(rows), apart)

        causes = by_cause(signs)
        alerts = tuple(
            Alert(day.start, cause, self._since(cause, day.start), tuple(map(departure, names)))
            for cause, names in causes.items()
        )
        history.open_since = {alert.cause.name: alert.since for alert in alerts}
        odd = departs | (bool(alerts) & (np.abs(np.nan_to_num(z)) > DOUBTFUL))
        history.add(day.start, values, seen.error, z, kept=~odd, counts=counts, usual=not alerts)
        self._accept()
        names = history.names
        return JudgedDay(
            day.start,
            dict(zip(names, values.tolist(), strict=True)),
            dict(zip(names, usual.tolist(), strict=True)),
            int(np.isfinite(seen.p_value).sum()),
            alerts,
            worst_skew(day.facts.skew),
        )

    def _figures(self, day: DayLog, counts: Mapping[str, np.ndarray]) -> dict[str, Figure]:
        figures: dict[str, Figure] = {}
        for part in (
            traffic_figures(day),
            exposure_figures(day),
            head_figures(day),
            input_figures(day, self.history.bins),
        ):
            figures |= part
        figures |= version_figures(day, self._superseded(day))
        for name, now in counts.items():
            before = self.history.reference(name, window=WINDOW)
            if before is not None and now.sum():
                figures[name] = Figure(float(np.log(len(day.slates) * psi(now, before) + 1e-9)))
        return figures

    def _superseded(self, day: DayLog) -> set[str]:
        """Of every part of a bundle; what the day shows for the first time is remembered."""
        old: set[str] = set()
        for part in BUNDLED:
            old |= self.history.superseded(part, day.start)
            seen = self.history.first_seen.setdefault(part, {})
            for version in day.slates[f"{part}_version"].cast(pa.string()).unique().to_pylist():
                seen.setdefault(version, day.start)
        return old

    def _surprises(self, start: datetime, values: np.ndarray):
        history = self.history
        checks = [check_of(name) for name in history.names]
        weekdays = np.array([day.weekday() for day in history.days], np.int64)
        usual = (
            forecast(history.usual(history.values), weekdays, weekday=start.weekday())
            if history.days
            else values * np.nan
        )
        floor = np.array([np.inf if check is None else check.least / 4 for check in checks])
        side = np.array([0 if check is None else int(check.side) for check in checks])
        return usual, surprise(values - usual, history.usual(history.errors), floor=floor, side=side)

    def _departs(
        self, values: np.ndarray, error: np.ndarray, p_value: np.ndarray, counts: Mapping[str, np.ndarray]
    ) -> np.ndarray:
        names = self.history.names
        checks = [check_of(name) for name in names]
        judged = np.isfinite(p_value) & np.array([check is not None for check in checks])
        least = np.array([np.inf if check is None else check.least for check in checks])
        side = np.array([0 if check is None else int(check.side) for check in checks])
        far = np.where(side == int(Side.BOTH), np.abs(error), side * error) >= least
        moved = np.array([self._psi(name, counts) >= self.limits.least_psi for name in names])
        rate = self.limits.budget / MONTH / max(int(judged.sum()), 1)
        return judged & far & moved & (np.nan_to_num(p_value, nan=1.0) < rate)

    def _psi(self, name: str, counts: Mapping[str, np.ndarray]) -> float:
        """Of a distribution; infinite for any other figure."""
        if name not in counts:
            return np.inf
        before = self.history.reference(name, window=WINDOW)
        return 0.0 if before is None else float(psi(counts[name], before))

    def _slow(self, z: np.ndarray, departs: np.ndarray) -> list[int]:
        history = self.history
        series = np.vstack([history.usual(history.z), z])
        sides = {
            c: int(check.side) for c, name in enumerate(history.names) if (check := check_of(name)) and not departs[c]
        }
        return [c for c, side in sides.items() if changed(series[:, c], side=side)]

    def _evidence(
        self, day: DayLog, name: str, figure: Figure, counts: Mapping[str, np.ndarray]
    ) -> tuple[np.ndarray, dict[str, float] | None]:
        """Requests to look at; of a distribution those in the bin that grew most, and its distances."""
        before = self.history.reference(name, window=WINDOW) if name.startswith(SHIFTED) else None
        if before is None or name not in counts:
            return figure.requests, None
        now = counts[name]
        grown = int(np.argmax(now / now.sum() - before / max(before.sum(), 1)))
        bins = self.history.bins.get(name.partition(".")[2])
        distances = {
            "psi": float(psi(now, before)),
            "ks": float(kolmogorov_smirnov(now, before)),
            "jensen_shannon": float(jensen_shannon(now, before)),
        }
        if bins is not None and bins.words is None:
            distances["wasserstein"] = float(wasserstein(now, before, edges=np.array(bins.edges)))
        return requests_of_bin(day, self.history.bins, name=name, code=grown), distances

    def _since(self, cause: Cause, day: datetime) -> datetime:
        return self.history.open_since.get(cause.name, day)

    def _accept(self) -> None:
        """Figures that departed on each of the last days stay there: what was before them is usual no more."""
        kept = self.history.kept
        stayed = ~kept[-ACCEPTED_AFTER:].any(axis=0) if len(kept) >= ACCEPTED_AFTER else np.zeros(kept.shape[1], bool)
        kept[:-ACCEPTED_AFTER, stayed] = False
        kept[-ACCEPTED_AFTER:, stayed] = True
        self.history.errors[-ACCEPTED_AFTER:, stayed] = np.nan
        if not any(self.history.usual_days[-ACCEPTED_AFTER:]) and len(self.history.days) > ACCEPTED_AFTER:
            self.history.usual_days[-ACCEPTED_AFTER:] = [True] * ACCEPTED_AFTER
