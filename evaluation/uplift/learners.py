"""Meta-learners: tau_a(x) by regressions of any kind (Künzel et al. 2019; Nie & Wager 2021; Kennedy 2023).

    S   one regression of y on x and the arm; tau_a = f(x, a) - f(x, 0). Shrinks effects towards 0 where they are small.
    T   a regression an arm; tau_a = mu_a - mu_0. Noise of both, most with arms of unequal size.
    X   tau by what the other arm's regression says was missed, on each side, weighed by propensity.
    R   minimises sum ((y - m(x)) - (w - e(x)) tau(x))^2: what neither x alone nor the draw explains.
    DR  regresses the doubly robust scores on x: unbiased if outcomes or propensities are right.

X, R and DR read the held-out nuisances alone; with several treatments, each is compared with control.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from evaluation.uplift.base_learner import BaseLearner, FittedMean
from evaluation.uplift.nuisances import CrossFit
from evaluation.uplift.trial import Trial


class EffectModel(Protocol):
    """A fitted tau."""

    def predict(self, table: np.ndarray) -> np.ndarray:
        """float64 [N, A] of features [N, F], in the outcome's unit."""
        ...


Learner = Callable[[Trial, CrossFit, BaseLearner], EffectModel]


@dataclass(frozen=True)
class Direct:
    """A regression of the effect itself, one a treatment (R, DR)."""

    effects: Sequence[FittedMean]

    def predict(self, table: np.ndarray) -> np.ndarray:
        return np.column_stack([effect.predict(table) for effect in self.effects])


@dataclass(frozen=True)
class OneRegression:
    """S: the arm is a further feature, a column a treatment."""

    outcome: FittedMean
    treatments: int

    def predict(self, table: np.ndarray) -> np.ndarray:
        answers = [self.outcome.predict(_with_arm(table, arm, self.treatments)) for arm in range(self.treatments + 1)]
        return np.column_stack(answers[1:]) - answers[0][:, None]


@dataclass(frozen=True)
class RegressionAnArm:
    """T: mu of every arm."""

    outcomes: Sequence[FittedMean]

    def predict(self, table: np.ndarray) -> np.ndarray:
        control, *others = (outcome.predict(table) for outcome in self.outcomes)
        return np.column_stack(others) - control[:, None]


@dataclass(frozen=True)
class Crossed:
    """X: e tau_of_control + (1 - e) tau_of_treated, e = P(treatment | treatment or control)."""

    of_treated: Sequence[FittedMean]
    of_control: Sequence[FittedMean]
    fit: CrossFit

    def predict(self, table: np.ndarray) -> np.ndarray:
        nuisances = self.fit.predict(table)
        share = np.column_stack([nuisances.pair_propensity(a + 1) for a in range(len(self.of_treated))])
        treated, control = (Direct(effects).predict(table) for effects in (self.of_treated, self.of_control))
        return share * control + (1 - share) * treated


def s_learner(trial: Trial, fit: CrossFit, learner: BaseLearner) -> EffectModel:
    table = _with_arm(trial.table, trial.arm, trial.treatments)
    return OneRegression(learner.fit(table, trial.outcome), trial.treatments)


def t_learner(trial: Trial, fit: CrossFit, learner: BaseLearner) -> EffectModel:
    rows = [trial.arm == arm for arm in range(len(trial.arms))]
    return RegressionAnArm([learner.fit(trial.table[some], trial.outcome[some]) for some in rows])


def x_learner(trial: Trial, fit: CrossFit, learner: BaseLearner) -> EffectModel:
    mu, control = fit.held_out.outcome, trial.arm == 0
    of_treated, of_control = [], []
    for a in range(1, len(trial.arms)):
        treated = trial.arm == a
        of_treated.append(learner.fit(trial.table[treated], trial.outcome[treated] - mu[treated, 0]))
        of_control.append(learner.fit(trial.table[control], mu[control, a] - trial.outcome[control]))
    return Crossed(of_treated, of_control, fit)


def r_learner(trial: Trial, fit: CrossFit, learner: BaseLearner) -> EffectModel:
    mu, effects = fit.held_out.outcome, []
    for a in range(1, len(trial.arms)):
        pair, share = trial.pair(a), fit.held_out.pair_propensity(a)
        rest = trial.outcome - (share * mu[:, a] + (1 - share) * mu[:, 0])
        moved = (trial.arm == a) - share
        effects.append(learner.fit(trial.table[pair], (rest / moved)[pair], weight=(moved**2)[pair]))
    return Direct(effects)


def dr_learner(trial: Trial, fit: CrossFit, learner: BaseLearner) -> EffectModel:
    return Direct([learner.fit(trial.table, scores) for scores in fit.held_out.scores(trial).T])


OF_EFFECTS = frozenset({"X", "R", "DR"})  # regress effects; S and T regress outcomes
LEARNERS: dict[str, Learner] = {"S": s_learner, "T": t_learner, "X": x_learner, "R": r_learner, "DR": dr_learner}


def _with_arm(table: np.ndarray, arm: np.ndarray | int, treatments: int) -> np.ndarray:
    """[N, F + A]: the features, then 1 in the treatment's column."""
    received = np.broadcast_to(arm, len(table))[:, None] == np.arange(1, treatments + 1)
    return np.column_stack([table, received.astype(table.dtype)])
