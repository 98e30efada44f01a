"""Pareto front of several metrics: what can be had together.

It is grown from the weightings of a search: log-normal steps from its members and means of pairs, swept a generation at
a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from marketplace.estimate import Estimate
from value_model.tuning.scoring import PolicyScorer, Scores

GENERATIONS, SIZE = 6, 96  # of a front that is grown


@dataclass(frozen=True)
class Front:
    """P weightings none of which another beats in every metric; `scores` [P] of fresh requests where given."""

    metrics: tuple[str, ...]
    weights: Mapping[str, np.ndarray]
    scores: Scores

    def change(self, metric: str, point: int, *, requests: int) -> Estimate:
        """The relative change of one point, judged on `requests`, with its normal 95 % interval."""
        score = self.scores[metric]
        value, half = float(score.relative[point]), 1.96 * float(score.relative_error[point])
        return Estimate(value, value - half, value + half, requests)


def pareto_front(
    scorer: PolicyScorer,
    metrics: Sequence[str],
    tried: Mapping[str, np.ndarray],
    *,
    rng: np.random.Generator,
    fresh: PolicyScorer | None = None,
    generations: int = GENERATIONS,
    size: int = SIZE,
    step: float = 0.3,
    progress: Callable[[int], None] | None = None,
) -> Front:
    """Grow the front of `metrics` (more is better) from the weightings `tried`; `fresh` = what judges its points.

    `progress` is called after every generation with its number of weightings.
    """
    names = tuple(tried)
    pool = np.column_stack([tried[name] for name in names])
    levels = _levels(scorer.scores(dict(tried)), metrics)
    limits = [(scorer.policy.weight[name].low, scorer.policy.weight[name].high) for name in names]
    for _ in range(generations):
        best = np.flatnonzero(nondominated(levels))
        parents = pool[rng.choice(best, (2, size))]
        steps = np.exp(rng.normal(0, step, (size, len(names))))
        children = np.clip(np.sqrt(parents[0] * parents[1]) * steps, *np.transpose(limits))
        children_levels = _levels(scorer.scores(dict(zip(names, children.T, strict=True))), metrics)
        pool, levels = np.concatenate([pool, children]), np.concatenate([levels, children_levels])
        if progress is not None:
            progress(size)
    best = np.flatnonzero(nondominated(levels))
    best = best[np.argsort(levels[best, 0])]
    weights = dict(zip(names, pool[best].T, strict=True))
    return Front(tuple(metrics), weights, (fresh or scorer).scores(weights))


def nondominated(levels: np.ndarray) -> np.ndarray:
    """bool [P] of levels [P, M]: nobody is at least as good in all and better in one."""
    at_least = np.all(levels[None] >= levels[:, None], axis=2)
    better = np.any(levels[None] > levels[:, None], axis=2)
    return ~np.any(at_least & better, axis=1)


def _levels(scores: Scores, metrics: Sequence[str]) -> np.ndarray:
    return np.column_stack([scores[name].level for name in metrics])
