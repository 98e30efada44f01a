"""Metrics of a ranking: ratios of two sums over requests, their levels and paired differences with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtri

from evaluation.counterfactual.intervals import IntervalConfig, PolicyEstimate, asymptotic, interval
from evaluation.counterfactual.terms import Terms
from value_model.formula.metrics import STANDARD, Metric
from value_model.tuning.credits import REQUEST, SHOWN

__all__ = ["OBJECTIVES", "STANDARD", "Change", "Metric", "change", "known_metrics", "ratio"]

OBJECTIVES = ("gmv", "orders", "ctr")  # what a ranking is mainly judged by: the first that the log tells of


def known_metrics(metrics: Sequence[Metric], names: Sequence[str]) -> tuple[Metric, ...]:
    """Those whose sums exist."""
    known = {*names, REQUEST, SHOWN}
    return tuple(m for m in metrics if m.numerator in known and m.denominator in known)


def ratio(metric: Metric, sums: Mapping[str, np.ndarray]) -> tuple[float, np.ndarray]:
    """(value, influence of each request [R], mean 0) from sums [R] by name."""
    above, below = sums[metric.numerator], sums[metric.denominator]
    mean = below.mean()
    if mean == 0:
        return float("nan"), np.full(len(above), np.nan)
    value = above.mean() / mean
    return float(value), (above - value * below) / mean


@dataclass(frozen=True)
class Change:
    """A metric now, as proposed, and the paired difference; `relative` = proposed / now - 1."""

    metric: Metric
    now: PolicyEstimate
    proposed: PolicyEstimate
    difference: PolicyEstimate
    relative: PolicyEstimate


def change(
    metric: Metric,
    now: Mapping[str, np.ndarray],
    proposed: Mapping[str, np.ndarray],
    *,
    unit: np.ndarray,
    rng: np.random.Generator,
    config: IntervalConfig,
    expected_error: float = 0.0,
) -> Change:
    """Both rankings on the same requests; `unit` [R] numbers what is independent.

    Levels take the normal interval; differences, on which decisions hang, one chosen for their data. Where heads
    expect a larger error of the numerators' difference (`expected_error`, of its sum) than the log shows, it counts.
    """
    (old, moved_old), (new, moved_new) = ratio(metric, now), ratio(metric, proposed)
    by = np.unique(unit, return_inverse=True)[1]

    def terms(value: float, moved: np.ndarray) -> Terms:
        # The linearised ratio: each request's share of the value, plus what it moves it by.
        return Terms(value + moved).by_unit(by, int(by.max()) + 1)

    def estimate(value: float, moved: np.ndarray, floor: float) -> PolicyEstimate:
        if not np.isfinite(moved).all():
            return PolicyEstimate(value, -np.inf, np.inf, len(by), config.level, "none", "nothing to divide by")
        shares = terms(value, moved)
        normal = asymptotic(shares, level=config.level)
        half = float(ndtri(0.5 + config.level / 2)) * floor
        if half > (normal.high - normal.low) / 2:
            reason = "the heads expect rarer and larger outcomes than this log happens to hold"
            return replace(normal, low=value - half, high=value + half, method="expected variance", reason=reason)
        return interval(shares, rng=rng, config=config)

    below = float(proposed[metric.denominator].sum())
    floor = expected_error / below if below else 0.0
    share = new / old if old else float("nan")
    relative = (moved_new - share * moved_old) / old if old else np.full(len(moved_new), np.nan)
    return Change(
        metric,
        asymptotic(terms(old, moved_old), level=config.level),
        asymptotic(terms(new, moved_new), level=config.level),
        estimate(new - old, moved_new - moved_old, floor),
        estimate(share - 1, relative, floor / abs(old) if old else 0.0),
    )
