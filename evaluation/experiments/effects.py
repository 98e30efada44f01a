"""Effects: what a variant changes of a metric, from sums, by the delta method.

A metric is a ratio of two means over units, R = mean(y) / mean(d): clicks per impression, orders per user (d = 1).
Randomised units are whole, so that rows of one unit may depend on each other as they like: the error is the
cluster-robust one (Deng, Knoblich & Lu 2018). Covariates P are ratios too, known before the experiment: they leave the
expected difference as it is, and take the noise that they explain (CUPED: Deng, Xu, Kohavi & Walker 2013; ratios: Jin &
Ba 2022):

    difference = R' - R - theta . (P' - P)        theta = var(P' - P)^-1 cov(P' - P, R' - R)
    relative   = difference / |R|                 of the control, so that it keeps the difference's sign

With one theta for both arms that is, at equal shares, Lin's (2013) interacted regression adjustment.
What cannot be computed is `Missing`, with its reason: never 0. Arrays have the sums' leading shape [...].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t

from evaluation.estimate import Estimate
from evaluation.experiments import sequences
from evaluation.experiments.sums import Means

SURELY = 3.0  # standard errors that the control's level must be from 0 for a relative effect to be defined
FEWEST = 2  # units an arm


@dataclass(frozen=True)
class Ratio:
    """mean of column `numerator` / mean of column `denominator`."""

    numerator: str
    denominator: str = "units"


@dataclass(frozen=True)
class Missing:
    """A number that could not be computed, and why."""

    reason: str

    def __str__(self) -> str:
        return f"missing: {self.reason}"


@dataclass(frozen=True)
class Contrast:
    """A difference of two arms: `value`, its standard `error`, its degrees of freedom, and `n` units of both arms.

    `kept` is the share of the variance that covariates left; `reason` says why a value is NaN, "" elsewhere.
    """

    value: np.ndarray
    error: np.ndarray
    degrees: np.ndarray
    n: np.ndarray
    kept: np.ndarray
    reason: np.ndarray

    def __getitem__(self, index) -> Contrast:
        return Contrast(*(np.asarray(part)[index] for part in vars(self).values()))

    @property
    def p_value(self) -> np.ndarray:
        """Two-sided, of one look that was planned beforehand (Welch's t); NaN where the contrast is missing."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(self.reason == "", 2 * t.sf(np.abs(self.value) / self.error, self.degrees), np.nan)

    def fixed(self, *, level: float = 0.95) -> Estimate | Missing:
        """The difference with the interval of one look that was planned beforehand."""
        if self.reason:
            return Missing(str(self.reason))
        value, half = float(self.value), float(t.ppf((1 + level) / 2, self.degrees) * self.error)
        return Estimate(value, value - half, value + half, int(self.n), level)

    def any_time(self, *, best_at: float, level: float = 0.95) -> Estimate | Missing:
        """The difference with the interval that holds at every look, tightest after about `best_at` units."""
        if self.reason:
            return Missing(str(self.reason))
        value, error, n = float(self.value), float(self.error), int(self.n)
        return sequences.confidence_sequence(value, error, n, best_at=best_at, level=level)

    def mixture(self, *, expected: float, level: float = 0.95) -> Estimate | Missing:
        """The differences that the mixture test refuses at no look; `expected`: the usual size of effects."""
        if self.reason:
            return Missing(str(self.reason))
        if not expected > 0:
            return Missing("the control's level is 0: effects have no usual size")
        return sequences.mixture_interval(
            float(self.value), float(self.error), int(self.n), expected=expected, level=level
        )


def missing(reason: str) -> Contrast:
    """No effect, and why."""
    nan = np.array(np.nan)
    return Contrast(nan, nan, nan, np.array(0), nan, np.array(reason))


def level_of(arm: Means, ratio: Ratio, *, level: float = 0.95) -> Estimate | Missing:
    """The metric in one arm, by one planned look."""
    values, covariance = _levels(arm, (ratio,))
    value, error = float(values[0]), float(np.sqrt(covariance[0, 0]))
    if not np.isfinite(error):
        return Missing(_no_level(int(arm.n), ratio))
    half = float(t.ppf((1 + level) / 2, arm.n - 1)) * error
    return Estimate(value, value - half, value + half, int(arm.n), level)


def effect(
    control: Means, variant: Means, ratio: Ratio, *, covariates: Sequence[Ratio] = (), relative: bool = False
) -> Contrast:
    """The variant's metric minus the control's, adjusted for `covariates`, `relative` to the control's or not.

    A covariate that is not defined or does not vary in both arms is left out.
    """
    ratios = (ratio, *covariates)
    (before, noise), (after, noise_after) = _levels(control, ratios), _levels(variant, ratios)
    theta = _theta(noise + noise_after)
    weight = np.concatenate([np.ones((*theta.shape[:-1], 1)), -theta], axis=-1)
    plain = noise[..., 0, 0] + noise_after[..., 0, 0]
    ours, theirs = weight, weight
    with np.errstate(invalid="ignore", divide="ignore"):
        away = np.where(weight == 0, 0.0, weight * (after - before)).sum(axis=-1)
        kept = _quadratic(weight, noise + noise_after) / plain
        if relative:
            level = before[..., 0]
            theirs = weight / np.abs(level)[..., None]
            ours = theirs.copy()
            ours[..., 0] += away * np.sign(level) / level**2
            away = away / np.abs(level)
        parts = _quadratic(ours, noise), _quadratic(theirs, noise_after)
        error = np.sqrt(parts[0] + parts[1])
        degrees = error**4 / (parts[0] ** 2 / (control.n - 1) + parts[1] ** 2 / (variant.n - 1))
    reason = _reasons(control, variant, ratio, error)
    if relative:
        near = (reason == "") & ~(np.abs(before[..., 0]) > SURELY * np.sqrt(noise[..., 0, 0]))
        reason = np.where(near, "the control's level is not surely away from 0: nothing is relative to it", reason)
    return Contrast(away, error, degrees, control.n + variant.n, kept, reason)


def within(arm: Means, ratio: Ratio) -> Contrast:
    """A ratio that is itself a difference within each unit, as interleaving's credits are."""
    values, covariance = _levels(arm, (ratio,))
    error = np.sqrt(np.maximum(covariance[..., 0, 0], 0.0))
    reason = _reasons(arm, arm, ratio, error)
    return Contrast(values[..., 0], error, arm.n - 1.0, arm.n, np.ones(error.shape), reason)


def change_of_change(control: Means, variant: Means, late: Ratio, early: Ratio) -> Contrast:
    """How the relative change moved: log(late' / late) - log(early' / early), all four of the same units."""
    ratios = (late, early)
    (before, noise), (after, noise_after) = _levels(control, ratios), _levels(variant, ratios)
    with np.errstate(invalid="ignore", divide="ignore"):
        growth = np.log(after / before)
        parts = [
            _quadratic(np.array([1.0, -1.0]) / level, one) for level, one in ((before, noise), (after, noise_after))
        ]
        error = np.sqrt(parts[0] + parts[1])
        degrees = error**4 / (parts[0] ** 2 / (control.n - 1) + parts[1] ** 2 / (variant.n - 1))
    reasons = [_reasons(control, variant, ratio, error) for ratio in ratios]
    reason = np.select([one != "" for one in reasons], reasons, "")
    value = growth[..., 0] - growth[..., 1]
    reason = np.where((reason == "") & ~np.isfinite(value), "an arm's level is not above 0", reason)
    return Contrast(value, error, degrees, control.n + variant.n, np.ones(error.shape), reason)


def _levels(arm: Means, ratios: Sequence[Ratio]) -> tuple[np.ndarray, np.ndarray]:
    """Ratios [..., K] and the covariance [..., K, K] of their estimates: J covariance J', J the ratios' derivatives."""
    above = [arm.columns.index(ratio.numerator) for ratio in ratios]
    below = [arm.columns.index(ratio.denominator) for ratio in ratios]
    with np.errstate(invalid="ignore", divide="ignore"):
        base = arm.mean[..., below]
        values = arm.mean[..., above] / base
        slope = np.zeros((*values.shape, len(arm.columns)))
        for at, (top, bottom) in enumerate(zip(above, below, strict=True)):
            slope[..., at, top] += 1 / base[..., at]
            slope[..., at, bottom] -= values[..., at] / base[..., at]
        return values, slope @ arm.covariance @ np.swapaxes(slope, -1, -2)


def _theta(noise: np.ndarray) -> np.ndarray:
    """[..., K - 1]: the covariates' coefficients that leave the least variance; 0 where one does not vary."""
    scale = np.sqrt(np.maximum(np.nan_to_num(np.diagonal(noise, axis1=-2, axis2=-1)[..., 1:], nan=0.0, posinf=0.0), 0))
    usable = scale > 0
    safe = np.where(usable, scale, 1.0)
    both = usable[..., :, None] & usable[..., None, :]
    correlation = np.where(both, noise[..., 1:, 1:] / (safe[..., :, None] * safe[..., None, :]), 0.0)
    shared = np.where(usable, noise[..., 1:, 0] / safe, 0.0)
    inverse = np.linalg.pinv(correlation, rcond=1e-9, hermitian=True)
    return np.nan_to_num(np.einsum("...jk,...k->...j", inverse, shared) / safe)


def _quadratic(weight: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """w' V w, without the entries of weight 0: a covariate left out may be NaN."""
    used = (weight[..., :, None] != 0) & (weight[..., None, :] != 0)
    return np.where(used, weight[..., :, None] * np.where(used, noise, 0.0) * weight[..., None, :], 0.0).sum((-1, -2))


def _reasons(control: Means, variant: Means, ratio: Ratio, error: np.ndarray) -> np.ndarray:
    """[...]: why there is no effect, "" where there is one."""
    below = control.columns.index(ratio.denominator)
    conditions = {
        f"fewer than {FEWEST} units in an arm": np.minimum(control.n, variant.n) < FEWEST,
        f"no {ratio.denominator} in an arm": (control.mean[..., below] == 0) | (variant.mean[..., below] == 0),
        "no unit differs from another, so that chance cannot be judged": ~(error > 0),
    }
    return np.select(list(conditions.values()), list(conditions), "")


def _no_level(n: int, ratio: Ratio) -> str:
    return f"fewer than {FEWEST} units" if n < FEWEST else f"no {ratio.denominator}"
