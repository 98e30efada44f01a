"""Which change-point detector suits a figure a day: Page and Hinkley's sums, as the watch uses them, or ADWIN?

Figures that are normal and independent from day to day, seen as the watch sees them: by the errors of its forecasts,
which follow a shift within some days, standardised and clipped. False alarms: series of 180 days in which nothing
happens. Found: a shift of some standard deviations that begins after 40 days and stays, within 28 days; days till then.
ADWIN (Bifet & Gavalda 2007, river) looks at every day, from its fifth on; its delta is tried at river's own and larger.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from river.base import DriftDetector
from river.drift import ADWIN

from benchmarks.record import Measure, record
from evaluation.monitoring.changes import CLIPPED, THRESHOLD, detector
from evaluation.monitoring.usual import HALF_LIFE, LEAST_DAYS, WINDOW

SEED, SERIES, CALM, BEFORE, AFTER = 7, 300, 180, 40, 28
SHIFTS = (1.5, 2.0, 3.0)  # standard deviations
DELTAS = (0.002, 0.05, 0.3)  # river's first
THRESHOLDS = (THRESHOLD, 8.0, 6.0)  # the watch's first


def errors(values: np.ndarray) -> np.ndarray:
    """[D]: each day against the weighted mean of the days before it (`evaluation.monitoring.usual`), in its s.d."""
    lags = 0.5 ** (np.arange(1, WINDOW + 1) / HALF_LIFE)
    result = np.zeros(len(values))
    for day in range(LEAST_DAYS, len(values)):
        weight = lags[: min(day, WINDOW)]
        weight = weight / weight.sum()
        mean = weight @ values[max(day - WINDOW, 0) : day][::-1]
        result[day] = (values[day] - mean) / np.sqrt(1 + weight @ weight)
    return np.clip(result[LEAST_DAYS:], -CLIPPED, CLIPPED)


def first_alarm(values: np.ndarray, detector: DriftDetector) -> int | None:
    """The day, from 0, on which a change is first declared."""
    for day, value in enumerate(errors(values).tolist()):
        detector.update(value)
        if detector.drift_detected:
            return day + LEAST_DAYS
    return None


def adwin(delta: float) -> ADWIN:
    return ADWIN(delta=delta, clock=1, grace_period=5)


def measures_of(name: str, make: Callable[[], DriftDetector], rng: np.random.Generator) -> list[Measure]:
    calm = [first_alarm(rng.normal(size=CALM), make()) for _ in range(SERIES)]
    rate = sum(day is not None for day in calm) / (SERIES * CALM / 30)
    measures = [Measure(f"{name}: false alarms", rate, "a figure and month")]
    for shift in SHIFTS:
        days = []
        for _ in range(SERIES):
            values = rng.normal(size=BEFORE + AFTER)
            values[BEFORE:] += shift
            day = first_alarm(values, make())
            if day is not None and day >= BEFORE:
                days.append(day - BEFORE + 1)
        measures.append(Measure(f"{name}: found, a shift of {shift:g} s.d.", len(days) / SERIES, "share"))
        if days:
            measures.append(Measure(f"{name}: days until then, mean", float(np.mean(days)), "days"))
    return measures


def main() -> None:
    rng = np.random.default_rng(SEED)
    measures = []
    for threshold in THRESHOLDS:
        name = f"Page-Hinkley, threshold {threshold:g}"
        measures += measures_of(name, lambda threshold=threshold: detector(side=0, threshold=threshold), rng)
    for delta in DELTAS:
        measures += measures_of(f"ADWIN, delta {delta:g}", lambda delta=delta: adwin(delta), rng)
    data = f"{SERIES} simulated series each"
    record("change_points", measures, data=data, seed=SEED)


if __name__ == "__main__":
    main()
