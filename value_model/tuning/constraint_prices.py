"""Shadow price of a constraint: objective given up per unit by which it is tightened.

Serving two weightings to a share of the requests each reaches every mean of their metrics, so the best objective at a
given level of another metric is the concave envelope of what was tried: its slope is the shadow price, and tightening a
bound never makes it smaller.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.counterfactual.intervals import IntervalConfig, interval
from evaluation.counterfactual.terms import Terms
from evaluation.estimate import Estimate
from value_model.formula.constraint import BoundKind, Constraint
from value_model.tuning.constraint import slack
from value_model.tuning.front import Front
from value_model.tuning.metrics import ratio
from value_model.tuning.scoring import PolicyScorer, Score, Scores
from value_model.tuning.tune import TuningResult


@dataclass(frozen=True)
class ShadowPrice:
    """`price`: objective given up per unit by which the constraint is tightened, over the next `step` of it."""

    constraint: Constraint
    objective: str
    unit: str
    step: float
    price: Estimate

    def __str__(self) -> str:
        cost = [1000 * self.step * x for x in (self.price.value, self.price.low, self.price.high)]
        what = "point" if self.step == 0.01 else f"{self.step:g}"
        return (
            f"one more {what} of {self.constraint.metric} costs {cost[0]:.3g} [{cost[1]:.3g}, {cost[2]:.3g}] "
            f"{self.unit.split(' / ')[0]} of {self.objective} per 1000 requests"
        )


def shadow_prices(
    tuned: TuningResult, *, rng: np.random.Generator, step: float = 0.01, front: Front | None = None
) -> list[ShadowPrice]:
    """What each constraint costs where it stands; those that no weighting tried can tighten by `step` are left out.

    Slopes come from the search half's envelope (with a front's weightings too), their size from the judging half.
    """
    metrics = tuple(change.metric for change in tuned.prediction.changes.values())
    searcher, fresh = (
        PolicyScorer(part, tuned.start, estimator=tuned.estimator, metrics=metrics, today=tuned.today)
        for part in (tuned.searched, tuned.judged)
    )
    weights = {n: np.concatenate([w, front.weights[n]]) if front else w for n, w in tuned.tried.items()}
    scores = searcher.scores(weights) if front else tuned.scores
    prices = (
        shadow_price(fresh, weights, scores, tuned.goal.maximise, c, tuned.goal.constraints, rng=rng, step=step)
        for c in tuned.goal.constraints
    )
    return [price for price in prices if price is not None]


def shadow_price(
    fresh: PolicyScorer,
    weights: Mapping[str, np.ndarray],
    scores: Scores,
    objective: str,
    constraint: Constraint,
    others: Sequence[Constraint],
    *,
    rng: np.random.Generator,
    step: float = 0.01,
) -> ShadowPrice | None:
    """One constraint's price over [bound, bound + step], all `others` but itself held by every weighting."""
    held = np.ones(len(scores[objective].level), bool)
    for other in others:
        if other != constraint:
            held &= slack(other, scores[other.metric], z=0) >= 0
    x = constraint.sign * value_of(scores[constraint.metric], constraint)
    hull = envelope(np.where(held, x, -np.inf), np.where(held, scores[objective].level, -np.inf))
    start = constraint.sign * constraint.bound
    mixes = [mixture(x, hull, start), mixture(x, hull, start + step)]
    if not len(hull) or mixes[0] is None or mixes[1] is None:
        return None
    metric = {m.name: m for m in fresh.metrics}[objective]
    price = _slope(fresh, weights, mixes[0], mixes[1], objective, constraint, rng=rng)
    unit = metric.unit.replace("currency", fresh.policy.currency)
    return ShadowPrice(constraint, objective, unit, step, price)


def value_of(score: Score, constraint: Constraint) -> np.ndarray:
    """[W]: what the constraint bounds."""
    bounded: np.ndarray = getattr(score, constraint.of.value)
    return bounded


def envelope(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Points on the falling part of the upper concave hull, from the highest y to the highest x; others -inf."""
    usable = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
    order = usable[np.lexsort((-y[usable], x[usable]))]
    hull: list[int] = []
    for point in order.tolist():
        while hull and (y[hull[-1]] <= y[point] or (len(hull) > 1 and _below(x, y, hull[-2], hull[-1], point))):
            hull.pop()
        if not hull or x[point] > x[hull[-1]]:
            hull.append(point)
    return np.array(hull, np.int64)


def _below(x: np.ndarray, y: np.ndarray, a: int, b: int, c: int) -> bool:
    """Whether b lies on or below the chord from a to c."""
    return bool((y[b] - y[a]) * (x[c] - x[a]) <= (y[c] - y[a]) * (x[b] - x[a]))


def mixture(x: np.ndarray, hull: np.ndarray, level: float) -> dict[int, float] | None:
    """Shares of hull points that reach x = level at the highest y; None where nothing does."""
    if not len(hull) or level > x[hull[-1]]:
        return None
    after = int(np.searchsorted(x[hull], level))
    if after == 0 or x[hull[after]] == level:
        return {int(hull[after]): 1.0}
    low, high = int(hull[after - 1]), int(hull[after])
    share = float((level - x[low]) / (x[high] - x[low]))
    return {low: 1 - share, high: share}


def _slope(
    fresh: PolicyScorer,
    weights: Mapping[str, np.ndarray],
    loose: Mapping[int, float],
    tight: Mapping[int, float],
    objective: str,
    constraint: Constraint,
    *,
    rng: np.random.Generator,
) -> Estimate:
    """(objective of loose - of tight) / (metric of tight - of loose), both on fresh requests."""
    if loose == tight:
        return Estimate(0.0, 0.0, 0.0, len(fresh.evidence))
    points = sorted({*loose, *tight})
    sums = fresh.sums(fresh.complete({name: column[points] for name, column in weights.items()}))
    signs = np.array([tight.get(p, 0.0) - loose.get(p, 0.0) for p in points])
    (gained, moved_gain), (paid, moved_pay) = (
        _combined(fresh, sums, signs, name, of)
        for name, of in ((constraint.metric, constraint.of), (objective, BoundKind.LEVEL))
    )
    gained, moved_gain = constraint.sign * gained, constraint.sign * moved_gain
    price = -paid / gained
    moved = (-moved_pay - price * moved_gain) / gained
    by = np.unique(fresh.evidence.unit, return_inverse=True)[1]
    return interval(Terms(price + moved).by_unit(by, int(by.max()) + 1), rng=rng, config=IntervalConfig(replicates=400))


def _combined(
    fresh: PolicyScorer, sums: np.ndarray, signs: np.ndarray, name: str, of: BoundKind
) -> tuple[float, np.ndarray]:
    """Signed sum over weightings of a metric's value and influence; relative = in shares of today's level."""
    metric = {m.name: m for m in fresh.metrics}[name]
    parts = [ratio(metric, dict(zip(fresh.names, row.T, strict=True))) for row in sums]
    value = float(sum(s * v for s, (v, _) in zip(signs, parts, strict=True)))
    moved = np.sum([s * m for s, (_, m) in zip(signs, parts, strict=True)], axis=0)
    if of is not BoundKind.RELATIVE:
        return value, moved
    now, moved_now = ratio(metric, dict(zip(fresh.names, fresh.now.T, strict=True)))
    return value / now, (moved - value / now * moved_now) / now
