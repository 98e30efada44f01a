"""Held-out effects: every row predicted, and judged, by models that learned from other units alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.uplift.base_learner import BaseLearner
from evaluation.uplift.choice import coarsest
from evaluation.uplift.learners import LEARNERS, OF_EFFECTS, Learner
from evaluation.uplift.nuisances import Nuisances, cross_fit
from evaluation.uplift.overlap import arm_overlaps, check_overlap
from evaluation.uplift.trial import Trial, folds


@dataclass(frozen=True)
class HeldOut:
    """Of all rows of a trial: `effects` [N, A] by learner, `nuisances`, and whose models answered (`part` int [N]).

    `warnings`: where arms hardly overlap.
    """

    effects: Mapping[str, np.ndarray]
    nuisances: Nuisances
    part: np.ndarray
    warnings: tuple[str, ...]


def held_out_effects(
    trial: Trial,
    base: BaseLearner,
    rng: np.random.Generator,
    *,
    ladder: Sequence[BaseLearner] = (),
    learners: Mapping[str, Learner] = LEARNERS,
    parts: int = 4,
    count: int = 5,
) -> HeldOut:
    """Learn on all `parts` of the units but one, with nuisances cross-fitted in `count` folds, and predict that one.

    `ladder`: regressions of effects, coarse to fine, of which X, R and DR get the one that held-out rows bear; empty =
    they get `base` too.
    Raises NoOverlap where units of some kind had one arm alone.
    """
    part, shape = folds(trial.units, rng, count=parts), (len(trial.arm), len(trial.arms))
    effects = {name: np.empty((shape[0], trial.treatments)) for name in learners}
    outcome, propensity = np.empty(shape), np.empty(shape)
    for number in range(parts):
        inside, rest = part == number, trial.part(part != number)
        fit = cross_fit(rest, base, rng, count=count)
        design = None if trial.propensity is None else trial.propensity[inside]
        answers = fit.predict(trial.table[inside], propensity=design)
        outcome[inside], propensity[inside] = answers.outcome, answers.propensity
        check_overlap(arm_overlaps(rest.arm, fit.held_out.propensity, arms=trial.arms))
        fine_enough = coarsest(rest, fit, ladder or (base,), rng)
        for name, learner in learners.items():
            regression = fine_enough if name in OF_EFFECTS else base
            effects[name][inside] = learner(rest, fit, regression).predict(trial.table[inside])
    warnings = check_overlap(arm_overlaps(trial.arm, propensity, arms=trial.arms))
    return HeldOut(effects, Nuisances(outcome, propensity), part, tuple(warnings))
