"""What is usual: each figure's forecast from the days before, and how far days have been from theirs.

Conventions: D days in order, C figures; values [D, C], NaN = not measured, or left out because it was no usual day.

    forecast = weighted mean of the earlier days without their weekday's part (half of the weight after HALF_LIFE days)
               + today's weekday's part, shrunk: mean of its days' departures * n / (n + SHRINKAGE)
    z = (value - forecast) / root mean square of the earlier days' own (value - forecast), which is t distributed

A day is the unit: whatever its requests have in common is in the days' spread already, so that a day like the others
alarms at the nominal rate however its rows cluster. A trend is in the earlier errors too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

WINDOW = 28  # days that are looked back on
HALF_LIFE = 7.0  # days
SHRINKAGE = 2.0  # days of a weekday that its part needs to count for half
LEAST_DAYS, LEAST_ERRORS = 7, 7  # before anything is forecast, and before an error is judged


def forecast(values: np.ndarray, weekdays: np.ndarray, *, weekday: int) -> np.ndarray:
    """[C]: of the day after `values` [D, C], which fell on `weekdays` [D]; NaN with fewer than LEAST_DAYS days."""
    values, weekdays = values[-WINDOW:], weekdays[-WINDOW:]
    known = ~np.isnan(values)
    weight = known * 0.5 ** (np.arange(len(values))[::-1, None] / HALF_LIFE)
    plain = np.where(known, values, 0.0)
    level = _mean(plain, weight)
    parts = np.stack([_weekday_part(plain - level, known & (weekdays == day)[:, None]) for day in range(7)])
    seasonless = _mean(plain - parts[weekdays], weight) + parts[weekday]
    return np.where(known.sum(axis=0) >= LEAST_DAYS, seasonless, np.nan)


@dataclass(frozen=True)
class Surprise:
    """How unusual a day's values [C] are: `z`, and P(such an error on a usual day), NaN where it cannot be judged."""

    error: np.ndarray
    z: np.ndarray
    p_value: np.ndarray


def surprise(error: np.ndarray, earlier: np.ndarray, *, floor: np.ndarray, side: np.ndarray) -> Surprise:
    """Of `error` [C] against `earlier` errors [D, C]; no spread is below `floor` [C].

    side [C]: 0 = either way, 1 = above alone, -1 = below alone.
    """
    earlier = earlier[-WINDOW:]
    n = (~np.isnan(earlier)).sum(axis=0)
    spread = np.sqrt(np.nansum(earlier**2, axis=0) / np.maximum(n, 1))
    z = error / np.maximum(spread, floor)
    degrees = np.maximum(n, 1)
    both, one = 2 * student.sf(np.abs(z), degrees), student.sf(side * z, degrees)
    p_value = np.where(side == 0, both, one)
    return Surprise(error, z, np.where(n >= LEAST_ERRORS, p_value, np.nan))


def _mean(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return (values * weight).sum(axis=0) / np.maximum(weight.sum(axis=0), 1e-300)


def _weekday_part(departures: np.ndarray, rows: np.ndarray) -> np.ndarray:
    n = rows.sum(axis=0)
    return np.where(rows, departures, 0.0).sum(axis=0) / (n + SHRINKAGE)
