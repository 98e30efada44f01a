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
from value_model.tuning.tune import Goal, TuneConfig, Tuned, explore, judge, shortlist, tune


class By(StrEnum):
    """What has weights of its own."""

    SURFACE = "surface"
    SEGMENT = "segment"


def tune_by(
    evidence: Evidence,
    policy: ValuePolicy,
    goal: Goal,
    *,
    by: By = By.SURFACE,
    names: Sequence[str] | None = None,
    seed: int = 0,
    config: TuneConfig | None = None,
    least: int = 500,
) -> Tuned:
    """As `tune`, with overrides for every surface or segment of at least `least` requests in the search half.

    They are served only if the judging half bears the constraints out for them too; the global weights, which come
    first, otherwise.
    """
    config = config or TuneConfig()
    tuned = tune(evidence, policy, goal, names=names, seed=seed, config=config)
    if not tuned.promised:
        return tuned
    config = replace(config, predict=replace(config.predict, objective=goal.maximise))
    found = _by_key(tuned, by, config=config, seed=seed, least=least)
    special = with_overrides(tuned.policy, by, found)
    verdict = judge(
        tuned.judged, policy, goal, [tuned.policy, special], estimator=tuned.estimator, seed=seed, config=config
    )
    return replace(tuned, verdict=verdict)


def _by_key(
    tuned: Tuned, by: By, *, config: TuneConfig, seed: int, least: int
) -> dict[str, tuple[dict[str, float], int]]:
    """(weights, requests) of every key whose own search found something better."""
    label = labels(tuned.searched, by)
    found = {}
    for key in np.unique(label).tolist():
        rows = label == key
        if rows.sum() < least:
            continue
        there = as_applied(tuned.policy, by, key)
        scorer = PolicyScorer(tuned.searched.take(rows), there, estimator=tuned.estimator, today=tuned.policy)
        goal = Goal(tuned.goal.maximise, tuple(_kept(c, scorer) for c in tuned.goal.constraints))
        alone = replace(config.search, study=f"{config.search.study} {by.value} {key}")
        tried, scores = explore(scorer, goal, tuple(tuned.tried), config=replace(config, search=alone), seed=seed)
        if finalists := shortlist(scorer, tried, scores, goal, config):
            found[key] = (finalists[-1], int(rows.sum()))
    return found


def _kept(constraint: Constraint, scorer: PolicyScorer) -> Constraint:
    """The metric held where the global weights put it on these requests."""
    metric = {m.name: m for m in scorer.metrics}[constraint.metric]
    above, below = (scorer.now[:, scorer.names.index(n)].sum() for n in (metric.numerator, metric.denominator))
    level = float(above / below)
    if constraint.sign > 0:
        return Constraint(constraint.metric, at_least=level, confidence=0.5)
    return Constraint(constraint.metric, at_most=level, confidence=0.5)


def as_applied(policy: ValuePolicy, by: By, key: str) -> ValuePolicy:
    """The policy whose global weights are those of one surface or segment, for its requests alone.

    Segments' overrides go on to apply on a surface; a segment's weight is one for all surfaces.
    """
    at = policy.weights_for(surface=key) if by is By.SURFACE else policy.weights_for(segment=key)
    bare = (replace(w, surface=(), segment=w.segment if by is By.SURFACE else ()) for w in policy.weights)
    return replace(policy, weights=tuple(bare)).with_weights(at)


def labels(evidence: Evidence, by: By) -> np.ndarray:
    """text [R]."""
    return evidence.slates.surface if by is By.SURFACE else evidence.segment


def with_overrides(policy: ValuePolicy, by: By, found: Mapping[str, tuple[Mapping[str, float], int]]) -> ValuePolicy:
    """The policy with these weights and their evidence, in place of its overrides of the same keys and weights."""
    weights = []
    for weight in policy.weights:
        own = tuple(Override(k, w[weight.name], n) for k, (w, n) in found.items() if weight.name in w)
        keys = {override.key for override in own}
        old = tuple(o for o in getattr(weight, by.value) if o.key not in keys)
        both = tuple(sorted((*old, *own), key=lambda override: override.key))
        weights.append(replace(weight, surface=both) if by is By.SURFACE else replace(weight, segment=both))
    return replace(policy, weights=tuple(weights))
