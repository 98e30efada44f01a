"""Plan: how long an experiment has to run, by what the log says of its units.

Windows of d days of the log stand for experiments of d days: how many units come, how much they differ, and what their
weeks before explain of it. Windows begin on the experiment's weekday where the log has such, so that a plan of whole
weeks holds every weekday alike. Beyond the longest window the detectable effect is drawn on along its power of d.

An effect e raises every unit by its share, and the error of the relative change with it. With s that error without an
effect and c the critical value, log(1 + e) = z_power s - log(1 - c s); for small s that is e = (c + z_power) s.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from evaluation.estimate import Estimate
from evaluation.experiments import sequences, spending
from evaluation.experiments.effects import Missing, Ratio, level_of
from evaluation.experiments.experiment_file import Experiment, StopRule
from evaluation.experiments.metrics import EXPERIMENT_METRICS
from evaluation.experiments.sums import unit_sums
from evaluation.experiments.trust import DAY
from evaluation.experiments.unit_table import columns_of_units, microseconds, request_columns, unit_keys
from marketplace.attribution import Attribution

LENGTHS = (1, 2, 3, 5, 7, 14, 21, 28, 42, 56)  # days
MOST_WINDOWS = 4  # of one length
LONGEST = 180  # days: what takes longer is no experiment


@dataclass(frozen=True)
class PlannedLength:
    """After `days`: expected `units` in all variants, and the least relative effect found with the file's power."""

    days: int
    units: float
    detectable: float


@dataclass(frozen=True)
class Plan:
    """`lengths` by what the log has seen, `days` what the minimum effect takes (None = not within LONGEST).

    `level`: the metric now. `in_time`: the least relative effect that the file's own days find. `weekdays`: requests by
    weekday, Monday first, as shares of the mean day.
    """

    experiment: Experiment
    level: Estimate | Missing
    lengths: tuple[PlannedLength, ...]
    days: int | None
    in_time: float
    weekdays: np.ndarray

    @property
    def enough(self) -> bool:
        """Whether the file's days find its minimum effect."""
        return self.in_time <= self.experiment.metrics.minimum_effect


def plan_experiment(joined: Attribution, experiment: Experiment) -> Plan:
    """The plan, by the slates of a log; raises ValueError where it has no unit of the experiment's kind."""
    metric = EXPERIMENT_METRICS[experiment.metrics.primary]
    time, key = microseconds(joined.slates), unit_keys(joined.slates, experiment)
    on_surface = np.ones(len(time), bool)
    if experiment.surfaces:
        surface = np.array(joined.slates["surface"].to_pylist(), object)
        on_surface = np.isin(surface, experiment.surfaces)
    rows = np.flatnonzero((key >= 0) & on_surface)
    if not len(rows):
        raise ValueError(f"the log has no {experiment.unit.value} to plan with: serve some requests first.")
    columns, ratio = request_columns(joined), Ratio(metric.numerator, metric.denominator)
    if {metric.numerator, metric.denominator} - {*columns, "sessions", "units"}:
        raise ValueError(
            f"the log does not record {metric.numerator.replace('_', ' ')}: choose another primary metric."
        )
    lengths = tuple(_lengths(joined, experiment, columns, time, key, rows, ratio))
    if not lengths:
        raise ValueError("no window of the log tells even an effect that doubles the metric: plan with a longer log.")
    if lengths[-1].days < min(2, experiment.days):
        raise ValueError("the log holds one day, which does not tell who comes again: plan with a longer log.")
    whole = unit_sums(_columns(joined, columns, key, rows, ratio), np.zeros(len(np.unique(key[rows])), int), groups=1)
    least = experiment.metrics.minimum_effect
    days = next((d for d in _candidates() if detectable_after(lengths, d) <= least), None)
    return Plan(
        experiment,
        level_of(whole[0].means, ratio),
        lengths,
        days,
        detectable_after(lengths, experiment.days),
        _weekdays(time[rows] // DAY),
    )


def detectable_after(lengths: tuple[PlannedLength, ...], days: float) -> float:
    """The least relative effect after `days`: between lengths in logarithms, beyond them along the last power."""
    x = np.log([one.days for one in lengths])
    y = np.log([one.detectable for one in lengths])
    if len(x) == 1 or np.log(days) <= x[-1]:
        slope = -0.5 * max(np.log(days) - x[-1], 0.0)
        return float(np.exp(np.interp(np.log(days), x, y) + slope))
    half = x >= x[-1] - np.log(4)
    power = float(np.clip(np.polyfit(x[half], y[half], 1)[0], -0.5, 0.0)) if half.sum() > 1 else -0.5
    return float(np.exp(y[-1] + power * (np.log(days) - x[-1])))


def least_effect(error: float, *, critical: float, power: float) -> float:
    """The least relative effect that is found with `power`; infinite where none is.

    `error`: of the relative change without an effect; `critical`: standard errors that the change must be from 0.
    """
    kept = 1 - critical * error
    return float(np.exp(norm.ppf(power) * error)) / kept - 1 if kept > 0 else np.inf


def critical_value(experiment: Experiment, error: float) -> float:
    """Standard errors that the primary metric's effect must be from 0 at the last look, under the stop rule.

    `error`: of the relative change, which the mixture test alone hangs on.
    """
    alpha = experiment.stop.alpha / max(len(experiment.treatments), 1)
    if experiment.stop.rule is StopRule.ALWAYS_VALID:
        return float(sequences.half_width(1.0, 1.0, best_at=1.0, alpha=alpha))
    if experiment.stop.rule is StopRule.MIXTURE:
        interval = sequences.mixture_interval(
            0.0, error, 0, expected=experiment.metrics.minimum_effect, level=1 - alpha
        )
        return interval.high / error
    if experiment.stop.rule is StopRule.GROUP_SEQUENTIAL:
        looks = [look / experiment.stop.looks for look in range(1, experiment.stop.looks + 1)]
        return float(spending.boundaries(looks, alpha=alpha)[-1])
    return float(norm.isf(alpha / 2))


def _weekdays(day: np.ndarray) -> np.ndarray:
    """[7]: requests a day by weekday, over the mean of all; NaN for a weekday that the log lacks."""
    days, requests = np.unique(day, return_counts=True)
    weekday = (days + 3) % 7
    with np.errstate(invalid="ignore"):
        mean = np.bincount(weekday, requests, minlength=7) / np.bincount(weekday, minlength=7)
    return mean / requests.mean()


def _lengths(
    joined: Attribution,
    experiment: Experiment,
    columns: dict[str, np.ndarray],
    time: np.ndarray,
    key: np.ndarray,
    rows: np.ndarray,
    ratio: Ratio,
) -> Iterator[PlannedLength]:
    day = time[rows] // DAY
    first, last = int(day.min()), int(day.max()) + 1
    part = (experiment.layer.high - experiment.layer.low) * (1 - experiment.holdout)
    share = experiment[experiment.control].share
    spread = 1 / share + 1 / min(variant.share for variant in experiment.treatments)
    for length in LENGTHS:
        starts = _starts(first, last, length, weekday=experiment.start.weekday())
        found = [_window(joined, columns, key, rows[(day >= at) & (day < at + length)], ratio) for at in starts]
        found = [(units, ratio_error) for units, ratio_error in found if np.isfinite(ratio_error) and ratio_error > 0]
        if found:
            units = part * float(np.mean([one for one, _ in found]))
            # A relative error of one unit: the error of the level times sqrt(units), over the level.
            alone = float(np.sqrt(np.mean([error**2 * count for count, error in found])))
            error = alone * float(np.sqrt(spread / units))
            least = least_effect(error, critical=critical_value(experiment, error), power=experiment.stop.power)
            if np.isfinite(least):
                yield PlannedLength(length, units, least)


def _starts(first: int, last: int, length: int, *, weekday: int) -> list[int]:
    """Days at which a window can begin, newest first; on the weekday where there are such."""
    possible = list(range(last - length, first - 1, -1))
    matching = [day for day in possible if (day + 3) % 7 == weekday]
    return (matching or possible)[:MOST_WINDOWS]


def _window(
    joined: Attribution, columns: dict[str, np.ndarray], key: np.ndarray, rows: np.ndarray, ratio: Ratio
) -> tuple[int, float]:
    """Units of a window, and the standard error of the metric over them, relative to its level."""
    if not len(rows):
        return 0, float("nan")
    of_units = _columns(joined, columns, key, rows, ratio)
    units = len(of_units["units"])
    level = level_of(unit_sums(of_units, np.zeros(units, int), groups=1)[0].means, ratio, level=0.6826894921370859)
    if isinstance(level, Missing) or not level.value:
        return units, float("nan")
    return units, (level.high - level.low) / 2 / abs(level.value)


def _columns(
    joined: Attribution, columns: dict[str, np.ndarray], key: np.ndarray, rows: np.ndarray, ratio: Ratio
) -> dict[str, np.ndarray]:
    known, unit = np.unique(key[rows], return_inverse=True)
    of_units = columns_of_units(joined.slates, columns, rows, unit, units=len(known))
    return {name: of_units[name] for name in {ratio.numerator, ratio.denominator, "units"}}


def _candidates() -> Iterator[int]:
    """Lengths that a plan may have: days up to a week, then whole weeks."""
    yield from range(1, 8)
    yield from range(14, LONGEST + 1, 7)
