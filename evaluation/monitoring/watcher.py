"""The watcher: a day against the days before it, and at most one alert a cause.

False alarms have a budget over all figures together: with `budget` a month and C figures that can be judged, a day's
figure departs where P(so odd on a usual day) < budget / 30 / C (Bonferroni), and it is as far off as its check demands.
A figure that stays where it went for ACCEPTED_AFTER days is the new usual.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import numpy as np

from evaluation.monitoring.alert import Alert, Departure, JudgedDay
from evaluation.monitoring.causes import by_cause
from evaluation.monitoring.changes import changed
from evaluation.monitoring.checks import Side, check_of
from evaluation.monitoring.day_log import DayLog
from evaluation.monitoring.distances import jensen_shannon, kolmogorov_smirnov, psi, wasserstein
from evaluation.monitoring.exposure import exposure_figures
from evaluation.monitoring.figure import Figure, share
from evaluation.monitoring.head_figures import head_figures
from evaluation.monitoring.history import History
from evaluation.monitoring.inputs import day_counts, input_figures, reference_bins, requests_of_bin, worst_skew
from evaluation.monitoring.traffic import traffic_figures, version_places
from evaluation.monitoring.usual import LEAST_DAYS, LEAST_ERRORS, WINDOW, Surprise, forecast, surprise

MONTH = 30.0  # days
WARM_UP = LEAST_DAYS + LEAST_ERRORS  # days before the first that is judged
ACCEPTED_AFTER = 7  # days
DOUBTFUL = 2.5  # standard errors beyond which a figure of a day that alarmed is no usual one
NO_DISTANCE = 1e-9  # added to PSI times requests, whose logarithm is judged
SLOW = "slow."  # before a figure's name: a change point, where no single day departs
SHIFTED = ("drift.", "position.", "seen.", "hours")  # distributions


@dataclass(frozen=True)
class WatchLimits:
    """`budget`: false alarms a month over all figures; `least_psi`: below it a distribution has not moved."""

    budget: float = 0.25
    least_psi: float = 0.02


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
        names, limits = history.names, _limits(history.names)
        values = np.array([figures[name].value if name in figures else np.nan for name in names])
        usual = self._usual(day.start)
        seen = surprise(values - usual, history.usual(history.errors), floor=limits.least / 4, side=limits.side)
        departs = self._departs(seen, limits, counts)
        z = np.where(np.isnan(seen.p_value), np.nan, seen.z)
        signs = {names[c]: float(np.sign(seen.error[c])) for c in np.flatnonzero(departs)}
        signs |= {SLOW + names[c]: float(np.sign(seen.error[c])) for c in self._slow(z, limits, departs)}

        def departure(name: str) -> Departure:
            figure, at = name.removeprefix(SLOW), names.index(name.removeprefix(SLOW))
            rows, distances = self._evidence(day, figure, figures[figure], counts)
            value, expected, chance = (float(part[at]) for part in (values, usual, seen.p_value))
            return Departure(name, value, expected, chance, day.ids(rows), distances)

        alerts = tuple(
            Alert(day.start, cause, history.open_since.get(cause.name, day.start), tuple(map(departure, figures_of_it)))
            for cause, figures_of_it in by_cause(signs).items()
        )
        odd = departs | (bool(alerts) & (np.abs(np.nan_to_num(z)) > DOUBTFUL))
        history.add(day.start, values, seen.error, z, kept=~odd, counts=counts, usual=not alerts)
        history.open_since = {alert.cause.name: alert.since for alert in alerts}
        history.accept(ACCEPTED_AFTER)
        of_day, before = (dict(zip(names, part.tolist(), strict=True)) for part in (values, usual))
        judged = int(np.isfinite(seen.p_value).sum())
        return JudgedDay(day.start, of_day, before, judged, alerts, worst_skew(day.facts.skew))

    def _figures(self, day: DayLog, counts: Mapping[str, np.ndarray]) -> dict[str, Figure]:
        history = self.history
        figures = {**traffic_figures(day), **exposure_figures(day), **head_figures(day)}
        figures |= {**input_figures(day, history.bins), "superseded": self._superseded(day)}
        for name, now in counts.items():
            before = history.reference(name, window=WINDOW)
            if before is not None and now.sum():
                figures[name] = Figure(float(np.log(len(day.slates) * psi(now, before) + NO_DISTANCE)))
        return figures

    def _superseded(self, day: DayLog) -> Figure:
        """The share of slates that a part of a superseded version answered; what the day shows first is remembered."""
        stale = np.zeros(len(day.slates), bool)
        for place, version, rows in version_places(day):
            stale[rows] |= self.history.superseded(place, version, day.start)
            self.history.first_seen.setdefault(place, {}).setdefault(version, day.start)
        return share(stale, np.ones(len(stale), bool), np.arange(len(stale)))

    def _usual(self, start: datetime) -> np.ndarray:
        """[C]: what a day is forecast to be; NaN before the first."""
        history = self.history
        if not history.days:
            return np.full(len(history.names), np.nan)
        weekdays = np.array([day.weekday() for day in history.days], np.int64)
        return forecast(history.usual(history.values), weekdays, weekday=start.weekday())

    def _departs(self, seen: Surprise, limits: _Limits, counts: Mapping[str, np.ndarray]) -> np.ndarray:
        """bool [C]: unlikely within the budget, and as far off as the figure's check demands."""
        judged = np.isfinite(seen.p_value) & np.isfinite(limits.least)
        far = np.where(limits.side == int(Side.BOTH), np.abs(seen.error), limits.side * seen.error) >= limits.least
        moved = np.array([self._psi(name, counts) >= self.limits.least_psi for name in self.history.names])
        rate = self.limits.budget / MONTH / max(int(judged.sum()), 1)
        return judged & far & moved & (np.nan_to_num(seen.p_value, nan=1.0) < rate)

    def _psi(self, name: str, counts: Mapping[str, np.ndarray]) -> float:
        """Of a distribution; infinite for any other figure."""
        if name not in counts:
            return np.inf
        before = self.history.reference(name, window=WINDOW)
        return 0.0 if before is None else float(psi(counts[name], before))

    def _slow(self, z: np.ndarray, limits: _Limits, departs: np.ndarray) -> list[int]:
        """Figures [C] without a departure whose change point is today."""
        series = np.vstack([self.history.usual(self.history.z), z])
        rest = np.flatnonzero(np.isfinite(limits.least) & ~departs)
        return [c for c in rest.tolist() if changed(series[:, c], side=int(limits.side[c]))]

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


class _Limits(NamedTuple):
    """The checks of C figures: `least` (infinite = it never alarms) and `side`, float64 and int64 [C]."""

    least: np.ndarray
    side: np.ndarray


def _limits(names: Sequence[str]) -> _Limits:
    checks = [check_of(name) for name in names]
    least = np.array([np.inf if check is None else check.least for check in checks])
    return _Limits(least, np.array([0 if check is None else int(check.side) for check in checks], np.int64))
