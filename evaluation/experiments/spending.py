"""Group-sequential tests: alpha is spent look by look where the largest size is known beforehand.

`fractions` [T] are the shares of the planned information (1 / error^2) at the looks so far, increasing. At look k the
difference is refused where |value / error| exceeds boundary k. How much alpha has been spent by then is fixed by a
function of the fraction, so that neither the number of looks nor their times need be planned (Lan & DeMets 1983).
Boundaries come from the recursion over the density of the score that has not stopped (Armitage, McPherson & Rowe 1969;
Jennison & Turnbull 2000, chapter 19).
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from functools import cache

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr
from scipy.stats import norm

from evaluation.estimate import Estimate

POINTS = 801  # of the grid over the scores that have not stopped
FARTHEST = 9.0  # standard deviations: beyond lies 1e-19


class Spending(StrEnum):
    """How alpha is spent: late, or evenly."""

    OBRIEN_FLEMING = "obrien_fleming"  # 2 - 2 Phi(z_{1 - alpha / 2} / sqrt(t))
    POCOCK = "pocock"  # alpha log(1 + (e - 1) t)


def spent(fraction: float, *, alpha: float, how: Spending = Spending.OBRIEN_FLEMING) -> float:
    """Alpha spent by `fraction` of the planned information."""
    fraction = min(fraction, 1.0)
    if how is Spending.POCOCK:
        return alpha * float(np.log1p((np.e - 1) * fraction))
    return 2 * float(norm.sf(norm.isf(alpha / 2) / np.sqrt(fraction)))


def boundaries(
    fractions: Sequence[float], *, alpha: float = 0.05, how: Spending = Spending.OBRIEN_FLEMING
) -> np.ndarray:
    """[T]: two-sided boundaries of |z|, half of alpha on each side; inf where nothing is spent at a look."""
    return _boundaries(tuple(fractions), alpha, how).copy()


@cache
def _boundaries(fractions: tuple[float, ...], alpha: float, how: Spending) -> np.ndarray:
    times = np.asarray(fractions, float)
    if not len(times) or (np.diff(times, prepend=0.0) <= 0).any():
        raise ValueError(f"fractions {times.tolist()}: they must increase from above 0; look again when more is in.")
    bounds, before = np.empty(len(times)), 0.0
    score, mass = np.zeros(1), np.ones(1)  # of the sum sqrt(t) z that has not stopped: points and their probability
    for k, time in enumerate(times):
        now = spent(time, alpha=alpha / 2, how=how)
        step = np.sqrt(time - (times[k - 1] if k else 0.0))
        bounds[k] = _boundary(score, mass, step, now - before) / np.sqrt(time)
        score, mass = _survivors(score, mass, step, bounds[k] * np.sqrt(time))
        before = now
    return bounds


def interval(
    value: float,
    error: float,
    n: int,
    *,
    fractions: Sequence[float],
    level: float = 0.95,
    how: Spending = Spending.OBRIEN_FLEMING,
) -> Estimate:
    """Repeated confidence interval at the last of the looks (Jennison & Turnbull 1989): value -+ boundary error."""
    half = float(boundaries(fractions, alpha=1 - level, how=how)[-1]) * error
    return Estimate(value, value - half, value + half, n, level)


def _boundary(score: np.ndarray, mass: np.ndarray, step: float, share: float) -> float:
    """Of the score after one more step: `share` of what has not stopped ends beyond it; inf where none can."""

    def surplus(bound: float) -> float:
        return float(mass @ ndtr((score - bound) / step)) - share

    farthest = FARTHEST * float(np.sqrt(step**2 + np.square(score).max()))
    return float("inf") if surplus(farthest) >= 0 else float(brentq(surplus, 0.0, farthest, xtol=1e-10))


def _survivors(score: np.ndarray, mass: np.ndarray, step: float, bound: float) -> tuple[np.ndarray, np.ndarray]:
    """Grid over (-bound, bound) with the probability of arriving there, by Simpson's rule."""
    edge = min(bound, FARTHEST * float(np.sqrt(step**2 + np.square(score).max())))
    grid = np.linspace(-edge, edge, POINTS)
    weight = np.where(np.arange(POINTS) % 2, 4.0, 2.0)
    weight[[0, -1]] = 1.0
    density = np.exp(-0.5 * ((grid[:, None] - score) / step) ** 2) @ mass / (step * np.sqrt(2 * np.pi))
    return grid, density * weight * (grid[1] - grid[0]) / 3
