"""What else could be had: a search for better weights, the Pareto front it leaves, and what each guardrail costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from desk.scope import Scope
from value_model.formula.value_policy import ValuePolicy
from value_model.tuning import (
    Constraint,
    Evidence,
    Front,
    Goal,
    PolicyScorer,
    PredictConfig,
    SearchConfig,
    ShadowPrice,
    TuneConfig,
    TuningResult,
    pareto_front,
    shadow_prices,
    tune,
)
from value_model.tuning.front import GENERATIONS, SIZE

WEIGHTINGS = SearchConfig().trials + GENERATIONS * SIZE  # tried in all
FEWEST = 60  # requests: fewer than 30 in a half find and judge nothing


@dataclass(frozen=True)
class Exploration:
    """`tuned`: a scope's weights that maximise the objective within the guardrails, on its `requests` alone; `front` is
    judged on the half that the search did not see, its changes are against the draft that the search began with."""

    scope: Scope
    requests: int
    tuned: TuningResult
    front: Front
    prices: tuple[ShadowPrice, ...]

    def weights(self, point: int | None = None) -> dict[str, float]:
        """Of one point of the front, None = the best within the guardrails; in four digits: as good, and readable.

        Raises ValueError for the best where none is promised.
        """
        if point is None and not self.tuned.promised:
            raise ValueError(f"no better weights can be promised for {self.scope.title}; choose a point of the front.")
        weights = self.tuned.weights if point is None else {n: w[point] for n, w in self.front.weights.items()}
        return {name: float(f"{weight:.4g}") for name, weight in weights.items()}


def explore(
    evidence: Evidence,
    draft: ValuePolicy,
    scope: Scope,
    *,
    metrics: tuple[str, str],
    guardrails: Sequence[Constraint],
    baseline: ValuePolicy,
    config: PredictConfig,
    seed: int,
    progress: Callable[[int], None] | None = None,
) -> Exploration:
    """Maximise metrics[1] within the guardrails on the `scope`'s own requests, then the front of both `metrics`.

    The same search as `value-model tune`; guardrails are held against the `baseline`. The scope's weights move, all
    other overrides stay in force. `progress` is called with the number of weightings tried since. Raises ValueError for
    unknown metrics and too few requests.
    """
    if len(evidence) < FEWEST:
        raise ValueError(
            f"{scope.title} has {len(evidence)} requests here; a search needs {FEWEST}, one half to find and one to "
            "judge. Search everywhere, or bring more requests."
        )
    alone = scope.alone(draft)
    goal = Goal(metrics[1], tuple(guardrails), baseline)
    names = tuple(w.name for w in alone.weights if w.term and w.high > 0)
    tuning = TuneConfig(search=SearchConfig(progress=progress), predict=config)
    tuned = tune(evidence, alone, goal, names=names, today=draft, seed=seed, config=tuning)
    searcher, fresh = (
        PolicyScorer(part, alone, estimator=tuned.estimator, metrics=config.metrics, today=draft)
        for part in (tuned.searched, tuned.judged)
    )
    rng = np.random.default_rng([seed, 2])
    front = pareto_front(searcher, metrics, tuned.tried, rng=rng, fresh=fresh, progress=progress)
    return Exploration(scope, len(evidence), tuned, front, tuple(shadow_prices(tuned, rng=rng, front=front)))
