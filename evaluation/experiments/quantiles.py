"""Effects on quantiles: what the variant does to the median order or the 95th percentile of waiting.

Rows are orders, requests, ...; rows of one unit depend on each other. The share of rows at or below the quantile is a
ratio over units, whose interval by the delta method is mapped back through the quantile function (Woodruff 1952; with
clusters: Liu, Sun, Varshney & Xu 2019): no density is estimated.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

from evaluation.estimate import Estimate


def quantile_level(values: np.ndarray, unit: np.ndarray, *, q: float, level: float = 0.95) -> Estimate:
    """The quantile `q` of rows [N] of one arm, with its interval; `unit` int [N]: whose row it is."""
    ordered = np.sort(values)
    value = float(np.quantile(ordered, q, method="inverted_cdf"))
    unit = np.unique(unit, return_inverse=True)[1]
    rows = np.bincount(unit)
    below = np.bincount(unit, values <= value)
    units, share = len(rows), below.sum() / rows.sum()
    residual = (below - share * rows) / rows.mean()
    half = norm.ppf((1 + level) / 2) * np.sqrt(residual.var(ddof=1) / units) if units > 1 else np.inf
    low, high = np.quantile(ordered, np.clip([q - half, q + half], 0, 1), method="inverted_cdf")
    return Estimate(value, float(low), float(high), units, level)


def quantile_difference(
    values: np.ndarray, unit: np.ndarray, arm: np.ndarray, *, q: float, level: float = 0.95
) -> Estimate:
    """The variant's quantile minus the control's; `arm` [N] is 0 or 1, of the row's unit."""
    control, variant = (quantile_level(values[arm == one], unit[arm == one], q=q, level=level) for one in (0, 1))
    half = np.hypot(control.high - control.low, variant.high - variant.low) / 2
    difference = variant.value - control.value
    return Estimate(difference, difference - float(half), difference + float(half), control.n + variant.n, level)
