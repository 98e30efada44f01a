"""Intervals of off-policy values, chosen with a reason.

Judged by how far the mean of the units' influence is from normal: its skewness is gamma / sqrt(U).
- No support (weights that are all 0, or no units): no estimate, NaN.
- 0/1 terms that are not close to normal: Clopper-Pearson, exact.
- Few effective units (Kish, of the influence, or of the weighted rewards where they are fewer): no asymptotics. Betting
  for terms >= 0 with a bound, empirical Bernstein else: both hold at any size within the bound, and are wide.
- Marked skewness of the mean: BCa bootstrap, which corrects it (Efron 1987).
- Otherwise the normal interval, at no cost.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from evaluation.counterfactual.betting import betting, clopper_pearson
from evaluation.counterfactual.terms import Terms, influence, value_of
from evaluation.estimate import Estimate

BLOCK = 1 << 18  # draws at a time: what fits a core's cache


@dataclass(frozen=True)
class PolicyEstimate(Estimate):
    """An Estimate that says how its interval was made (`method`) and why (`reason`)."""

    method: str = ""
    reason: str = ""


@dataclass(frozen=True)
class IntervalConfig:
    level: float = 0.95
    replicates: int = 1000
    fewest: float = 15.0  # effective units below which only Bernstein is trusted
    skewed: float = 0.03  # skewness of the mean above which the bootstrap replaces the normal interval


def interval(
    terms: Terms,
    *,
    rng: np.random.Generator,
    config: IntervalConfig,
    bound: float | None = None,
    events: float = np.inf,
) -> PolicyEstimate:
    """The interval whose assumptions the data meet.

    bound: the largest that one unit's correction can be, also one that the log does not hold; None = the log's own, and
    no guarantee. events: effective number of units that earned something, where the corrections do not tell.
    """
    effective = min(effective_units(terms), events)
    skewness = skewness_of_mean(influence(terms))
    few = f"{effective:.0f} effective units: too few for asymptotics"
    normal = effective >= config.fewest and abs(skewness) <= config.skewed
    if not normal and bound is not None and bound <= 1 and _binary(terms):
        return binomial(terms, level=config.level, reason=few if effective < config.fewest else "0/1 terms: exact")
    if effective < config.fewest and bound is not None and terms.base is None and (terms.correction >= 0).all():
        return bounded_mean(terms, level=config.level, bound=bound, reason=few)
    if effective < config.fewest:
        return empirical_bernstein(terms, level=config.level, bound=bound, reason=few)
    if abs(skewness) > config.skewed:
        reason = f"skewness of the mean {skewness:+.3f} beyond {config.skewed}"
        return bootstrap(terms, rng=rng, replicates=config.replicates, level=config.level, reason=reason)
    reason = f"{effective:.0f} effective units, skewness of the mean {skewness:+.3f}: close to normal"
    return asymptotic(terms, level=config.level, reason=reason)


def effective_units(terms: Terms) -> float:
    """Kish's number of the units' corrections: how many share the burden of the answer."""
    return kish(terms.correction)


def kish(values: np.ndarray) -> float:
    """(sum |v|)^2 / sum v^2; 0 where all are 0."""
    squares = (values**2).sum()
    return float(np.abs(values).sum() ** 2 / squares) if squares > 0 else 0.0


def _binary(terms: Terms) -> bool:
    """Whether the value is a plain share of units: corrections 0/1, nothing else."""
    plain = terms.base is None and terms.normaliser is None and terms.count is None
    return plain and bool(((terms.correction == 0) | (terms.correction == 1)).all())


def no_estimate(terms: Terms, *, level: float, reason: str) -> PolicyEstimate:
    """NaN: the log says nothing of the policy."""
    return PolicyEstimate(np.nan, np.nan, np.nan, terms.units, level, "none", reason)


def binomial(terms: Terms, *, level: float = 0.95, reason: str = "chosen") -> PolicyEstimate:
    """Clopper-Pearson, of 0/1 terms."""
    low, high = clopper_pearson(int(terms.correction.sum()), terms.units, level=level)
    return _estimate(terms, low, high, level, "Clopper-Pearson", reason)


def bounded_mean(terms: Terms, *, bound: float, level: float = 0.95, reason: str = "chosen") -> PolicyEstimate:
    """Betting on the mean of corrections in [0, bound], over the mean of the normaliser, which is taken as it is."""
    scale = terms.units / terms.total[3]
    low, high = (scale * end for end in betting(terms.correction, bound=bound, level=level))
    return _estimate(terms, low, high, level, "betting", f"{reason}; terms up to {bound:.3g}")


def skewness_of_mean(values: np.ndarray) -> float:
    """Third standardised moment of the values' mean, were they independent draws."""
    spread = values.std()
    centred = values - values.mean()
    return float((centred**3).mean() / spread**3 / np.sqrt(len(values))) if spread > 0 else 0.0


def asymptotic(terms: Terms, *, level: float = 0.95, reason: str = "chosen") -> PolicyEstimate:
    """value +- z * standard error (delta method for ratios)."""
    half = ndtri((1 + level) / 2) * influence(terms).std() / np.sqrt(terms.units)
    return _estimate(terms, terms.value - half, terms.value + half, level, "asymptotic", reason)


def empirical_bernstein(
    terms: Terms, *, level: float = 0.95, bound: float | None = None, reason: str = "chosen"
) -> PolicyEstimate:
    """value +- sqrt(2 V ln(4/d) / U) + 7 b ln(4/d) / (3 (U - 1)) (Maurer & Pontil 2009, theorem 4, both sides).

    b bounds the range of one unit's term; None takes the range seen, which the true one may exceed: then the interval
    is no guarantee.
    """
    moved = influence(terms)
    span = float(np.ptp(moved)) if bound is None else max(bound, float(np.ptp(moved)))
    log_term = np.log(4 / (1 - level))
    spread = moved.var(ddof=1) if terms.units > 1 else np.inf
    half = np.sqrt(2 * spread * log_term / terms.units) + 7 * span * log_term / (3 * max(terms.units - 1, 1))
    note = reason + ("; range taken from the log" if bound is None else "")
    return _estimate(terms, terms.value - half, terms.value + half, level, "empirical Bernstein", note)


def bootstrap(
    terms: Terms,
    *,
    rng: np.random.Generator,
    replicates: int = 1000,
    level: float = 0.95,
    reason: str = "chosen",
) -> PolicyEstimate:
    """The BCa interval (Efron 1987): percentiles shifted for the bias and the skewness of the draws."""
    return bca(terms, resampled_values(terms, rng=rng, replicates=replicates), level=level, reason=reason)


def bca(terms: Terms, draws: np.ndarray, *, level: float = 0.95, reason: str = "chosen") -> PolicyEstimate:
    """The BCa interval from values [B] on samples of the units that were drawn already."""
    draws = draws[np.isfinite(draws)]
    few = 1 / (2 * len(draws))
    share = np.clip((draws < terms.value).mean() + (draws == terms.value).mean() / 2, few, 1 - few)
    bias = ndtri(share)
    acceleration = skewness_of_mean(influence(terms)) / 6
    z = bias + ndtri([(1 - level) / 2, (1 + level) / 2])
    low, high = np.quantile(draws, ndtr(bias + z / np.maximum(1 - acceleration * z, 1e-6)))
    return _estimate(terms, low, high, level, "bootstrap", reason)


def resampled_values(terms: Terms, *, rng: np.random.Generator, replicates: int) -> np.ndarray:
    """[B]: the value on samples of U units with replacement.

    Units with equal terms are exchangeable: a multinomial over the distinct ones has the same law as resampling units.
    With rare rewards nearly all units share the one empty term, which makes it an exact resampling of the rewards.
    """
    columns = terms.columns
    distinct, times = np.unique(columns, axis=0, return_counts=True) if _rare(terms) else (columns, None)
    if times is None or len(distinct) > len(columns) // 4:
        return _by_units(columns, rng, replicates)
    counts = rng.multinomial(len(columns), times / len(columns), size=replicates)
    return value_of(counts @ distinct)


def _rare(terms: Terms) -> bool:
    """Whether a sample of units repeats enough for the sort of all of them to pay."""
    sample = terms.columns[:: max(1, terms.units // 1000)]
    return len(np.unique(sample, axis=0)) < len(sample) // 2


def _by_units(columns: np.ndarray, rng: np.random.Generator, replicates: int) -> np.ndarray:
    units, totals = len(columns), np.empty((replicates, columns.shape[1]))
    step = max(1, BLOCK // units)
    for start in range(0, replicates, step):
        rows = min(step, replicates - start)
        drawn = rng.integers(units, size=(rows, units)) + np.arange(rows)[:, None] * units
        counts = np.bincount(drawn.ravel(), minlength=rows * units).reshape(rows, units)
        totals[start : start + rows] = counts.astype(np.float64) @ columns
    return value_of(totals)


def _estimate(terms: Terms, low: float, high: float, level: float, method: str, reason: str) -> PolicyEstimate:
    if terms.base is None and (terms.correction >= 0).all():
        low = max(low, 0.0)  # what is never negative has no negative mean
    return PolicyEstimate(terms.value, float(low), float(high), terms.units, level, method, reason)
