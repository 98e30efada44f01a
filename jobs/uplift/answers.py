"""What a trial says: each learner's metrics on held-out rows, and what targeting by one of them is worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from evaluation import bootstrap
from evaluation.curves import Curve
from evaluation.estimate import Estimate
from evaluation.uplift.held_out import HeldOut
from evaluation.uplift.measures import gain_curve, gain_metrics, score_metrics, uplift_calibration
from evaluation.uplift.policy_value import ArmEconomics, TargetingValue, targeting_values
from evaluation.uplift.targeting import Targeting, target
from evaluation.uplift.trial import Trial

OUTCOME = "by outcome"  # treats whom the outcome is expected of anyway: what uplift is compared with
RANDOM = "at random"


@dataclass(frozen=True)
class TreatmentAnswer:
    """One treatment against control: metrics and curves by learner, on `rows` rows."""

    rows: int
    metrics: Mapping[str, Mapping[str, Estimate]]
    gains: Mapping[str, Curve]
    calibration: Mapping[str, Curve]


def treatment_answer(
    trial: Trial, held_out: HeldOut, treatment: int, *, rng: np.random.Generator, replicates: int
) -> TreatmentAnswer:
    """All learners on the same bootstrap samples of the units; `by outcome` ranks by the treated's expected outcome."""
    rows = trial.pair(treatment)
    outcome, treated = trial.outcome[rows], trial.arm[rows] == treatment
    samples = bootstrap.resample(len(outcome), rng, replicates=replicates, shopper=trial.units[rows])
    scores = held_out.nuisances.scores(trial)[rows, treatment - 1]
    chance = held_out.nuisances.pair_propensity(treatment)[rows]
    propensity = None if np.ptp(chance) == 0 else chance
    part = held_out.part[rows]
    predicted = {name: effects[rows, treatment - 1] for name, effects in held_out.effects.items()}
    ranked = predicted | {OUTCOME: held_out.nuisances.outcome[rows, treatment]}
    metrics, gains = {}, {}
    for name, score in ranked.items():
        measured = gain_metrics(score, outcome, treated, samples=samples, propensity=propensity, part=part)
        measured |= score_metrics(score, scores, samples=samples, part=part)
        metrics[name] = {key: value.estimate() for key, value in measured.items()}
        gains[name] = gain_curve(score, outcome, treated, samples=samples, propensity=propensity, part=part)
    for of_effects in ("bias", "slope"):
        del metrics[OUTCOME][of_effects]
    calibration = {name: uplift_calibration(score, scores, samples=samples) for name, score in predicted.items()}
    return TreatmentAnswer(len(outcome), metrics, gains, calibration)


@dataclass(frozen=True)
class TargetingAnswer:
    """`chosen`: whom to treat by the chosen learner; `values` of it and of simpler choices at the same cost."""

    chosen: Targeting
    values: Mapping[str, TargetingValue]


def targeting_answer(
    trial: Trial,
    held_out: HeldOut,
    *,
    learner: str,
    worth: float,
    costs: np.ndarray,
    budget: float,
    rng: np.random.Generator,
) -> TargetingAnswer:
    """Costs [A] of the treatments and the budget in money, `worth`: money per unit of outcome."""
    rows = len(trial.arm)
    cost = np.tile(costs, (rows, 1))
    chosen = target(worth * held_out.effects[learner], cost, budget=budget)
    limit = min(budget, chosen.cost)
    by_outcome = target(worth * held_out.nuisances.outcome[:, 1:], cost, budget=limit)
    nobody = np.zeros(rows, np.int64)
    choices = {f"by {learner}": chosen.arm, OUTCOME: by_outcome.arm, RANDOM: rng.permutation(chosen.arm)}
    choices |= {f"everybody: {name}": nobody + arm for arm, name in enumerate(trial.arms) if arm}
    economics = ArmEconomics(worth, np.column_stack([np.zeros(rows), cost]))
    return TargetingAnswer(chosen, targeting_values(trial, held_out.nuisances, choices, economics=economics, rng=rng))
