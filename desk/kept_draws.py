"""Changes of all metrics at once, with intervals from bootstrap samples that are drawn once and kept.

As `value_model.tuning.metrics.change`: the same rules choose each interval. With common samples the interval of a
slider's position does not flicker, and all metrics cost one matrix product.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from scipy.special import ndtri

from evaluation.counterfactual.intervals import (
    IntervalConfig,
    PolicyEstimate,
    asymptotic,
    bca,
    effective_units,
    interval,
    skewness_of_mean,
)
from evaluation.counterfactual.terms import Terms, influence
from value_model.tuning import Change, Metric
from value_model.tuning.metrics import ratio

Sums = Mapping[str, np.ndarray]


class KeptDraws:
    """Samples of the independent units, `unit` int [R]."""

    def __init__(self, unit: np.ndarray, *, config: IntervalConfig, seed: int) -> None:
        self._unit, self._config = np.unique(unit, return_inverse=True)[1], config
        self._units = int(self._unit.max()) + 1
        self._count = np.bincount(self._unit, minlength=self._units).astype(np.float64)
        rng = np.random.default_rng(seed)
        drawn = rng.multinomial(self._units, np.full(self._units, 1 / self._units), size=config.replicates)
        self._drawn = drawn.astype(np.float32)
        self._sizes = self._drawn @ self._count.astype(np.float32)

    def changes(
        self, metrics: Sequence[Metric], now: Sums, new: Sums, *, expected_errors: Mapping[str, float]
    ) -> dict[str, Change]:
        """Of every metric; sums [R] by name, `expected_errors` of the numerators' sums as the heads expect them."""
        parts = [_moves(metric, now, new) for metric in metrics]
        finite = [np.isfinite(moved).all() for _, _, *pair in parts for _, moved in pair]
        terms = [self._terms(value, moved) for _, _, *pair in parts for value, moved in pair]
        stacked = np.column_stack([np.nan_to_num(t.correction) for t in terms]).astype(np.float32)
        draws = (self._drawn @ stacked / self._sizes[:, None]).astype(np.float64)
        changes = {}
        for i, (metric, (old, proposed, *_)) in enumerate(zip(metrics, parts, strict=True)):
            floor = expected_errors[metric.name] / max(float(new[metric.denominator].sum()), 1e-12)
            floors = (floor, floor / abs(old[0]) if old[0] else 0.0)
            pair = [
                self._estimate(terms[j], draws[:, j], floors[j % 2]) if finite[j] else self._unknown(terms[j])
                for j in (2 * i, 2 * i + 1)
            ]
            levels = (asymptotic(self._terms(*part), level=self._config.level) for part in (old, proposed))
            changes[metric.name] = Change(metric, *levels, *pair)
        return changes

    def _terms(self, value: float, moved: np.ndarray) -> Terms:
        correction = np.bincount(self._unit, value + moved, minlength=self._units)
        return Terms(correction, np.zeros(self._units), self._count, self._count)

    def _estimate(self, terms: Terms, draws: np.ndarray, floor: float) -> PolicyEstimate:
        config, normal = self._config, asymptotic(terms, level=self._config.level)
        half = float(ndtri(0.5 + config.level / 2)) * floor
        if half > (normal.high - normal.low) / 2:
            reason = "the heads expect rarer and larger outcomes than this log happens to hold"
            low, high = terms.value - half, terms.value + half
            return replace(normal, low=low, high=high, method="expected variance", reason=reason)
        skewness = skewness_of_mean(influence(terms))
        if effective_units(terms) < config.fewest or abs(skewness) <= config.skewed:
            return interval(terms, rng=np.random.default_rng(0), config=config)  # draws nothing
        return bca(terms, draws, level=config.level, reason=f"skewness of the mean {skewness:+.3f}")

    def _unknown(self, terms: Terms) -> PolicyEstimate:
        return PolicyEstimate(
            terms.value, -np.inf, np.inf, self._units, self._config.level, "none", "nothing to divide by"
        )


Part = tuple[float, np.ndarray]


def _moves(metric: Metric, now: Sums, new: Sums) -> tuple[Part, Part, Part, Part]:
    """(value, influence [R]) of the level now, as proposed, of the difference and of the relative change."""
    (old, moved_old), (value, moved) = ratio(metric, now), ratio(metric, new)
    share = value / old if old else float("nan")
    relative = (moved - share * moved_old) / old if old else np.full(len(moved), np.nan)
    return (old, moved_old), (value, moved), (value - old, moved - moved_old), (share - 1, relative)
