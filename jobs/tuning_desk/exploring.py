"""What else could be had: a search for better weights, the Pareto front it leaves, and what each guardrail costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from value_model.formula.value_policy import ValuePolicy
from value_model.tuning import (
    Constraint,
    Evidence,
    Front,
    Goal,
    PredictConfig,
    Scorer,
    SearchConfig,
    ShadowPrice,
    TuneConfig,
    Tuned,
    pareto_front,
    shadow_prices,
    tune,
)

TRIALS, BATCH = 120, 24
GENERATIONS, SIZE = 4, 64


@dataclass(frozen=True)
class Explored:
    """`tuned`: weights that maximise the objective within the guardrails; `front` is judged on fresh requests, its
    changes are against the draft that the search began with."""

    tuned: Tuned
    front: Front
    prices: tuple[ShadowPrice, ...]

    def weights(self, point: int) -> dict[str, float]:
        """Of one point of the front, in four digits: what people can read decides no less."""
        return {name: float(f"{column[point]:.4g}") for name, column in self.front.weights.items()}


def explore(
    evidence: Evidence,
    policy: ValuePolicy,
    *,
    metrics: tuple[str, str],
    guardrails: Sequence[Constraint],
    config: PredictConfig,
    seed: int,
) -> Explored:
    """Maximise metrics[1] within the guardrails, then the front of both `metrics`.

    Overrides are laid aside for the search, whose weightings are global; the objective's own guardrail is no
    constraint. Raises ValueError for metrics that are not known and requests that are too few.
    """
    plain = replace(policy, weights=tuple(replace(w, surface=(), segment=()) for w in policy.weights))
    goal = Goal(metrics[1], tuple(c for c in guardrails if c.metric != metrics[1]))
    names = tuple(w.name for w in plain.weights if w.term and w.high > 0)
    search = SearchConfig(trials=TRIALS, batch=BATCH)
    found = tune(evidence, plain, goal, names=names, seed=seed, config=TuneConfig(search=search, predict=config))
    searcher, fresh = (
        Scorer(part, plain, estimator=found.estimator, metrics=config.metrics)
        for part in (found.searched, found.judged)
    )
    rng = np.random.default_rng([seed, 2])
    front = pareto_front(searcher, metrics, found.tried, rng=rng, fresh=fresh, generations=GENERATIONS, size=SIZE)
    return Explored(found, front, tuple(shadow_prices(found, rng=rng, front=front)))
