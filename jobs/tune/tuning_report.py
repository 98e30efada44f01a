"""Tuning report: proposed weights with their promise or refusal, and all that explains them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from desk.guardrails import GuardrailResult, guardrail_results
from jobs.tune.request import SEED, TuneRequest
from value_model.formula import ValuePolicy
from value_model.tuning import (
    Evidence,
    Front,
    PolicyScorer,
    PredictConfig,
    SearchConfig,
    Sensitivity,
    ShadowPrice,
    TuneConfig,
    TuningResult,
    pareto_front,
    sensitivities,
    shadow_prices,
    tune,
    tune_overrides,
)
from value_model.tuning.influence import Influence, influence
from value_model.tuning.scoring import request_weights


@dataclass(frozen=True)
class TuningReport:
    """`proposed` = the weights that are promised, or else those that an experiment should try (None: there are none).

    `guardrails`: the request's constraints, then others of the policy file, under `proposed`. `influences` by policy
    version, on requests that were not searched.
    """

    request: TuneRequest
    tuned: TuningResult
    proposed: ValuePolicy | None
    guardrails: tuple[GuardrailResult, ...]
    prices: tuple[ShadowPrice, ...]
    sensitivities: tuple[Sensitivity, ...]
    influences: Mapping[str, tuple[Influence, ...]]
    front: Front


def tuning_report(
    evidence: Evidence,
    policy: ValuePolicy,
    request: TuneRequest,
    *,
    requests_per_day: float | None,
    storage: Path,
    bar: bool,
) -> TuningReport:
    """Search, judge and explain; trials are kept in `storage` (SQLite), where the same request goes on."""
    config = TuneConfig(
        search=SearchConfig(
            trials=request.trials,
            storage=f"sqlite:///{storage}",
            study=request.study(evidence, policy),
            bar=bar,
        ),
        predict=PredictConfig(requests_per_day=requests_per_day),
    )
    goal, names = request.goal, request.names
    others = [c for c in policy.constraints if str(c) not in map(str, goal.constraints)]
    if request.by is None:
        tuned = tune(evidence, policy, goal, names=names, seed=SEED, config=config)
    else:
        tuned = tune_overrides(evidence, policy, goal, dimension=request.by, names=names, seed=SEED, config=config)
    proposed = _proposed(tuned)
    explained = proposed or policy
    rng = np.random.default_rng([SEED, 2])
    searched, fresh = (PolicyScorer(part, policy, estimator=tuned.estimator) for part in (tuned.searched, tuned.judged))
    front = pareto_front(searched, request.front, tuned.tried, rng=rng, fresh=fresh)
    return TuningReport(
        request=request,
        tuned=tuned,
        proposed=proposed,
        guardrails=guardrail_results(tuned.verdict.held, (*goal.constraints, *others)),
        prices=tuple(p for p in shadow_prices(tuned, rng=rng, front=front) if p.constraint.metric != goal.maximise),
        sensitivities=tuple(
            sensitivities(tuned.judged, explained, names, objective=goal.maximise, estimator=tuned.estimator)
        ),
        influences={p.version: _influence(p, tuned.judged) for p in (policy, explained)},
        front=front,
    )


def _proposed(tuned: TuningResult) -> ValuePolicy | None:
    if tuned.promised:
        return tuned.policy
    test = tuned.verdict.experiment
    return None if test is None else tuned.today.with_weights(test.arms[-1])


def signed(policy: ValuePolicy, today: ValuePolicy, *, why: str) -> ValuePolicy:
    """The policy in which every weight that moved says why; owners stay: they are asked to agree."""
    moved = {w.name for w in policy.weights if w != today.weight[w.name]}
    return replace(
        policy,
        weights=tuple(
            replace(w, reason=f"{why}; was {today.weight[w.name].value:g}.") if w.name in moved else w
            for w in policy.weights
        ),
    )


def _influence(policy: ValuePolicy, evidence: Evidence) -> tuple[Influence, ...]:
    slates = evidence.slates
    weights = {n: w[:, None] for n, w in request_weights(policy, slates.surface, evidence.segment).items()}
    depth = evidence.examination.shape[1]
    return influence(policy, slates.columns, k=depth, weights=weights, mask=slates.mask)
