"""Power: how many units tell an effect, and which effect so many units tell.

Conventions: `variance` is that of one unit's contribution to the metric (of a ratio: of its linearised value), `effect`
a difference in the metric's unit, `shares` the arms' parts of all units, alpha two-sided unless `sides` is 1. Over
several comparisons alpha is divided by their number (Bonferroni).
"""

from __future__ import annotations

from math import ceil

import numpy as np
from scipy.stats import norm

POWER, ALPHA = 0.8, 0.05


def units_needed(
    variance: float,
    effect: float,
    *,
    shares: tuple[float, float] = (0.5, 0.5),
    power: float = POWER,
    alpha: float = ALPHA,
    sides: int = 2,
    comparisons: int = 1,
) -> int:
    """Units of both arms: variance (1 / share + 1 / share') ((z_{1 - alpha / sides} + z_power) / effect)^2."""
    if effect == 0:
        raise ValueError("effect is 0: no number of units tells it; state the least effect that would matter.")
    z = _reach(power, alpha, sides, comparisons)
    return ceil(variance * sum(1 / share for share in shares) * (z / effect) ** 2)


def detectable(
    variance,
    units,
    *,
    shares: tuple[float, float] = (0.5, 0.5),
    power: float = POWER,
    alpha: float = ALPHA,
    sides: int = 2,
    comparisons: int = 1,
) -> np.ndarray:
    """The least effect that `units` of both arms tell with `power`."""
    spread = np.asarray(variance) * sum(1 / share for share in shares) / np.asarray(units, float)
    return _reach(power, alpha, sides, comparisons) * np.sqrt(spread)


def power_of(effect, error, *, alpha: float = ALPHA, sides: int = 2, comparisons: int = 1) -> np.ndarray:
    """P(the test refuses no effect | effect), of a difference with standard error `error`; both tails of two sides."""
    critical, away = norm.isf(alpha / comparisons / sides), np.abs(np.asarray(effect)) / error
    return norm.sf(critical - away) + (norm.cdf(-critical - away) if sides == 2 else 0.0)


def _reach(power: float, alpha: float, sides: int, comparisons: int) -> float:
    return float(norm.isf(alpha / comparisons / sides) + norm.ppf(power))
