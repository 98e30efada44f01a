"""Confidence intervals that hold at any size: Clopper-Pearson for 0/1 terms, betting for bounded ones.

Betting (Waudby-Smith & Ramdas 2023, "Estimating means of bounded random variables by betting", section 4): were m the
mean of U independent x in [0, 1], a gambler who stakes share s of what m allows would hold
prod_i (1 + s (x_i / m - 1)), of mean 1; a mean is refused where that exceeds 2 / (1 - level) (Ville). Here the gambler
spreads the stake once over s = 1, 1/2, 1/4, ..., so that the answer does not depend on the order of the units and
equal terms are counted, not repeated.
"""

from __future__ import annotations

import numpy as np
from scipy.special import betaincinv, logsumexp

HALVINGS = 60  # of the interval in which a bound is sought, in logs: to the precision of float64


def clopper_pearson(events: int, trials: int, *, level: float = 0.95) -> tuple[float, float]:
    """The exact interval of a binomial rate (Clopper & Pearson 1934)."""
    tail = (1 - level) / 2
    low = betaincinv(events, trials - events + 1, tail) if events > 0 else 0.0
    high = betaincinv(events + 1, trials - events, 1 - tail) if events < trials else 1.0
    return float(low), float(high)


def betting(values: np.ndarray, *, bound: float, level: float = 0.95) -> tuple[float, float]:
    """Of the mean of independent `values` [U] in [0, bound]."""
    distinct, times = np.unique(np.clip(values / bound, 0, 1), return_counts=True)
    low = _lowest_mean(distinct, times, level=level)
    high = 1 - _lowest_mean(1 - distinct, times, level=level)
    return low * bound, high * bound


def _lowest_mean(x: np.ndarray, times: np.ndarray, *, level: float) -> float:
    """The smallest mean that the bets do not refuse."""
    mean = float(x @ times / times.sum())
    if mean <= 0:
        return 0.0
    halvings = np.arange(int(np.ceil(np.log2(times.sum()))) + 6)
    stake = 0.5**halvings
    # Half of the money on large stakes, which rare terms call for, half spread evenly.
    money = 0.5 / ((halvings + 1) * (halvings + 2)) + 0.5 / len(halvings)
    left, limit = 1 - money.sum(), np.log(2 / (1 - level))

    def wealth(m: float) -> float:
        with np.errstate(divide="ignore"):
            growth = np.log1p(stake[:, None] * (x / m - 1)) @ times
        return float(logsumexp(np.append(growth, 0.0), b=np.append(money, left)))

    low, high = np.log(mean) - 50, np.log(mean)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if wealth(np.exp(middle)) > limit else (low, middle)
    return float(np.exp(low))
