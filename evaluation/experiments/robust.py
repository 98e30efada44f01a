"""Robust means: differences that a few enormous orders cannot decide.

`values` [U] of all units of both arms, `arm` int [U], 0 = control, 1 = the variant. A robust mean answers another
question than the mean: where the variant moves the largest orders, that is not seen.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.stats import t

from evaluation.estimate import Estimate

UPPER = 0.999  # of the units: what lies above is capped
TRIM = 0.05  # of the units, on each side


def winsorised(
    columns: Mapping[str, np.ndarray], names: tuple[str, ...], *, upper: float = UPPER
) -> dict[str, np.ndarray]:
    """The columns, with those of `names` capped at their quantile `upper` over the units of all arms that are not 0.

    One cap for all arms, so that the cap is no effect; a capped column is summed and compared as any other.
    """
    return {name: _capped(column, upper) if name in names else column for name, column in columns.items()}


def trimmed_difference(values: np.ndarray, arm: np.ndarray, *, trim: float = TRIM, level: float = 0.95) -> Estimate:
    """Difference of means without the share `trim` on each side (Yuen 1974).

    se^2 = sum over arms of (n - 1) var(winsorised) / (h (h - 1)), h = n - 2 floor(trim n) units left.
    """
    means, noise, left = zip(*(_trimmed(values[arm == one], trim) for one in (0, 1)), strict=True)
    difference, total = means[1] - means[0], sum(noise)
    degrees = total**2 / sum(part**2 / (h - 1) for part, h in zip(noise, left, strict=True))
    half = float(t.ppf((1 + level) / 2, degrees) * np.sqrt(total))
    return Estimate(float(difference), float(difference - half), float(difference + half), len(values), level)


def _trimmed(values: np.ndarray, trim: float) -> tuple[float, float, int]:
    """Mean of what is left, its variance, and how many are left."""
    ordered, n = np.sort(values), len(values)
    cut = int(trim * n)
    left = n - 2 * cut
    capped = np.clip(ordered, ordered[cut], ordered[n - cut - 1])
    return float(ordered[cut : n - cut].mean()), float((n - 1) * capped.var(ddof=1) / (left * (left - 1))), left


def _capped(column: np.ndarray, upper: float) -> np.ndarray:
    active = column[column != 0]
    return column if not len(active) else np.minimum(column, np.quantile(active, upper, method="higher"))
