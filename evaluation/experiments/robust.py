"""Robust means: differences that a few enormous orders cannot decide.

`values` [U] of all units of both arms, `arm` int [U], 0 = control, 1 = the variant. A robust mean answers another
question than the mean: where the variant moves the largest orders, that is not seen.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from evaluation.experiments.effects import SURELY, Contrast

UPPER = 0.999  # of the units: what lies above is capped
TRIM = 0.05  # of the units, on each side
FEWEST = 10  # units an arm, of trimmed means


def winsorised(
    columns: Mapping[str, np.ndarray], names: tuple[str, ...], *, upper: float = UPPER
) -> dict[str, np.ndarray]:
    """The columns, with those of `names` capped at their quantile `upper` over the units of all arms that are not 0.

    One cap for all arms, so that the cap is no effect; a capped column is summed and compared as any other.
    """
    return {name: _capped(column, upper) if name in names else column for name, column in columns.items()}


def trimmed_change(values: np.ndarray, arm: np.ndarray, *, trim: float = TRIM, relative: bool = False) -> Contrast:
    """Difference of means without the share `trim` on each side (Yuen 1974), `relative` to the control's or not.

    se^2 = sum over arms of (n - 1) var(winsorised) / (h (h - 1)), h = n - 2 floor(trim n) units left.
    """
    count = np.bincount(arm, minlength=2)
    if count.min() < FEWEST:
        nan = np.array(np.nan)
        return Contrast(nan, nan, nan, count.sum(), nan, np.array(f"fewer than {FEWEST} units in an arm"))
    (base, noise, left), (mean, noise_after, left_after) = (_trimmed(values[arm == one], trim) for one in (0, 1))
    value, reason = mean - base, ""
    if relative and not abs(base) > SURELY * np.sqrt(noise):
        reason = "the control's trimmed mean is not surely away from 0: nothing is relative to it"
    elif relative:
        value, noise, noise_after = value / abs(base), noise * (mean / base**2) ** 2, noise_after / base**2
    total = noise + noise_after
    if not total > 0:
        reason = reason or "no unit differs from another, so that chance cannot be judged"
    with np.errstate(invalid="ignore", divide="ignore"):
        degrees = total**2 / np.float64(noise**2 / (left - 1) + noise_after**2 / (left_after - 1))
    error = np.asarray(np.sqrt(total))
    return Contrast(np.array(value), error, np.asarray(degrees), count.sum(), np.array(1.0), np.array(reason))


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
