"""Any-time validity: intervals and p-values of a difference that hold at every look at once.

A difference whose standard error is s is held against a normal mixture of standard deviation t over what it could be:

    E = sqrt(s^2 / (s^2 + t^2)) exp(difference^2 t^2 / (2 s^2 (s^2 + t^2)))

Without an effect E is a martingale that starts at 1, so that it ever exceeds 1 / alpha with probability alpha at most
(Ville). The interval holds the effects that it does not refuse. Two ways to choose t:

- asymptotic confidence sequence (Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas 2024, "Time-uniform central limit
  theory and asymptotic confidence sequences", theorem 2.2): t = rho s sqrt(n), rho by `mixing`, tightest near
  `best_at` units;
- mixture sequential probability ratio test (Robbins 1970; Johari, Koomen, Pekelis & Walsh 2022): t in the metric's
  unit, the size of effects that are expected.

Conventions: arrays of any one shape; `n` counts the independent units of both arms; alpha = 1 - level. Both are
asymptotic: neither is to be read before some hundred units are in each arm. Units that return make looks more alike
than new units would, which errs on the safe side. A regression-adjusted difference is read with its own error.
"""

from __future__ import annotations

import numpy as np

from evaluation.estimate import Estimate


def mixing(best_at: float, *, alpha: float = 0.05) -> float:
    """rho for which the sequence is tightest after about `best_at` units (Waudby-Smith et al., appendix B.2)."""
    surprise = -2 * np.log(alpha)
    return float(np.sqrt((surprise + np.log(surprise + 1)) / best_at))


def half_width(error, n, *, best_at: float, alpha: float = 0.05) -> np.ndarray:
    """Of the two-sided asymptotic confidence sequence of a difference with standard error `error` after `n` units."""
    spread = np.asarray(n, float) * mixing(best_at, alpha=alpha) ** 2
    with np.errstate(divide="ignore"):
        return error * np.sqrt((spread + 1) / spread * (np.log(spread + 1) - 2 * np.log(alpha)))


def bound_width(error, n, *, best_at: float, alpha: float = 0.05) -> np.ndarray:
    """How far below (or above) a difference its one-sided bound lies: what a guardrail is held against.

    Waudby-Smith et al., appendix B.1.
    """
    spread = np.asarray(n, float) * mixing(best_at, alpha=2 * alpha) ** 2
    with np.errstate(divide="ignore"):
        return error * np.sqrt(2 * (spread + 1) / spread * np.log1p(np.sqrt(spread + 1) / (2 * alpha)))


def confidence_sequence(value: float, error: float, n: int, *, best_at: float, level: float = 0.95) -> Estimate:
    """The difference with the interval that holds at every look."""
    half = float(half_width(error, n, best_at=best_at, alpha=1 - level))
    return Estimate(value, value - half, value + half, n, level)


def harm_bound(value: float, error: float, n: int, *, best_at: float, level: float = 0.95) -> Estimate:
    """The difference with its one-sided upper bound that holds at every look; `low` is -inf.

    Harm is proven where `high` is below the margin: of a metric that should rise, difference <= -margin.
    """
    bound = float(bound_width(error, n, best_at=best_at, alpha=1 - level))
    return Estimate(value, -np.inf, value + bound, n, level)


def safety_bound(value: float, error: float, n: int, *, best_at: float, level: float = 0.95) -> Estimate:
    """The difference with its one-sided lower bound that holds at every look; `high` is inf.

    No harm beyond the margin is proven where `low` is above -margin.
    """
    mirrored = harm_bound(-value, error, n, best_at=best_at, level=level)
    return Estimate(value, -mirrored.high, np.inf, n, level)


def log_evidence(value, error, spread) -> np.ndarray:
    """log E of the mixture of standard deviation `spread` against no difference."""
    noise, mixture = np.square(error), np.square(spread)
    return 0.5 * (np.log(noise / (noise + mixture)) + np.square(value) * mixture / (noise * (noise + mixture)))


def p_value(value, error, n, *, best_at: float, alpha: float = 0.05) -> np.ndarray:
    """Any-time p-value of the asymptotic sequence at one look; over looks the smallest counts."""
    spread = error * np.sqrt(np.asarray(n, float)) * mixing(best_at, alpha=alpha)
    return np.exp(-np.maximum(log_evidence(value, error, spread), 0))


def mixture_p_value(value, error, *, expected: float) -> np.ndarray:
    """Any-time p-value of the mixture test at one look; `expected`: the usual size of effects, in the metric's unit."""
    return np.exp(-np.maximum(log_evidence(value, error, expected), 0))


def mixture_interval(value: float, error: float, n: int, *, expected: float, level: float = 0.95) -> Estimate:
    """The differences that the mixture test does not refuse."""
    noise, mixture = error**2, expected**2
    half = float(np.sqrt(noise * (noise + mixture) / mixture * (np.log1p(mixture / noise) - 2 * np.log(1 - level))))
    return Estimate(value, value - half, value + half, n, level)
