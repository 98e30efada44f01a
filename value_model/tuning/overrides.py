"""Weights of each surface's or segment's own, shrunk towards the global ones by how much evidence they have.

The global weights are tuned first. Each surface is then searched alone, holding every constrained metric at least
where the global weights put it on that surface, so that the whole keeps what the global weights keep. What is found
becomes an override with the surface's number of requests as evidence; the policy shrinks it (n / (n + prior)).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum

import numpy as np

from value_model.formula.constraint import Constraint
from value_model.formula.value_policy import Override, ValuePolicy
from value_model.tuning.evidence import Evidence
from value_model.tuning.scoring import PolicyScorer
from value_model.tuning.tune import Goal, TuneConfig, TuningResult, explore, judge, shortlist, tune


class Dimension(StrEnum):
    """What has weights of its own."""

    SURFACE = "surface"
    SEGMENT = "segment"


def tune_overrides(
    evidence: Evidence,
    policy: ValuePolicy,
    goal: Goal,
    *,
    dimension: Dimension = Dimension.SURFACE,
    names: Sequence[str] | None = None,
    seed: int = 0,
    config: TuneConfig | None = None,
    least: int = 500,
) -> TuningResult:
    """As `tune`, with overrides for every surface or segment of at least `least` requests in the search half.

    They are served only if the judging half bears the constraints out for them too; the global weights, which come
    first, otherwise.
    """
    config = config or TuneConfig()
    tuned = tune(evidence, policy, goal, names=names, seed=seed, config=config)
    if not tuned.promised:
        return tuned
    config = replace(config, predict=replace(config.predict, objective=goal.maximise))
    better = _better_weights(tuned, dimension, config=config, seed=seed, least=least)
    special = with_overrides(tuned.policy, dimension, better)
    verdict = judge(
        tuned.judged, policy, goal, [tuned.policy, special], estimator=tuned.estimator, seed=seed, config=config
    )
    return replace(tuned, verdict=verdict)


def _better_weights(
    tuned: TuningResult, dimension: Dimension, *, config: TuneConfig, seed: int, least: int
) -> dict[str, tuple[dict[str, float], int]]:
    """(weights, requests) of every key whose own search found something better."""
    label = labels(tuned.searched, dimension)
    better = {}
    for key in np.unique(label).tolist():
        rows = label == key
        if rows.sum() < least:
            continue
        applied = as_applied(tuned.policy, dimension, key)
        part, metrics = tuned.searched.take(rows), config.predict.metrics
        scorer = PolicyScorer(part, applied, estimator=tuned.estimator, metrics=metrics, today=tuned.policy)
        goal = Goal(tuned.goal.maximise, tuple(_kept(c, scorer) for c in tuned.goal.constraints))
        alone = replace(config.search, study=f"{config.search.study} {dimension.value} {key}")
        tried, scores = explore(scorer, goal, tuple(tuned.tried), config=replace(config, search=alone), seed=seed)
        if finalists := shortlist(scorer, tried, scores, goal, config):
            better[key] = (finalists[-1], int(rows.sum()))
    return better


def _kept(constraint: Constraint, scorer: PolicyScorer) -> Constraint:
    """The metric held where the global weights put it on these requests."""
    metric = {m.name: m for m in scorer.metrics}[constraint.metric]
    above, below = (scorer.now[:, scorer.names.index(n)].sum() for n in (metric.numerator, metric.denominator))
    level = float(above / below)
    if constraint.sign > 0:
        return Constraint(constraint.metric, at_least=level, confidence=0.5)
    return Constraint(constraint.metric, at_most=level, confidence=0.5)


def as_applied(policy: ValuePolicy, dimension: Dimension, key: str) -> ValuePolicy:
    """The policy whose global weights are those of one surface or segment, for its requests alone.

    Segments' overrides go on to apply on a surface; a segment's weight is one for all surfaces.
    """
    at = policy.weights_for(surface=key) if dimension is Dimension.SURFACE else policy.weights_for(segment=key)
    bare = (replace(w, surface=(), segment=w.segment if dimension is Dimension.SURFACE else ()) for w in policy.weights)
    return replace(policy, weights=tuple(bare)).with_weights(at)


def labels(evidence: Evidence, dimension: Dimension) -> np.ndarray:
    """text [R]."""
    return evidence.slates.surface if dimension is Dimension.SURFACE else evidence.segment


def with_overrides(
    policy: ValuePolicy, dimension: Dimension, tuned: Mapping[str, tuple[Mapping[str, float], int]]
) -> ValuePolicy:
    """The policy with these weights and their evidence, in place of its overrides of the same keys and weights."""
    weights = []
    for weight in policy.weights:
        fresh = tuple(Override(k, w[weight.name], float(n)) for k, (w, n) in tuned.items() if weight.name in w)
        keys = {override.key for override in fresh}
        old = tuple(o for o in getattr(weight, dimension.value) if o.key not in keys)
        both = tuple(sorted((*old, *fresh), key=lambda override: override.key))
        weights.append(
            replace(weight, surface=both) if dimension is Dimension.SURFACE else replace(weight, segment=both)
        )
    return replace(policy, weights=tuple(weights))
