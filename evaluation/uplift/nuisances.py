"""Nuisances: mu_a(x) and e_a(x), which effects are learned through; cross-fitted, so that no row teaches its own.

Each fold's rows are answered by regressions that were fitted on the other folds, and a unit lies in one fold alone
(Chernozhukov et al. 2018, double machine learning).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.uplift.base_learner import BaseLearner, FittedMean
from evaluation.uplift.trial import Trial, folds

LEAST = 0.01  # an estimated propensity is held to at least this, so that no row weighs more than a hundred
TINY = 1e-9  # stands for what a regression puts at or below 0


@dataclass(frozen=True)
class Nuisances:
    """`outcome` [N, A + 1] = mu, `propensity` [N, A + 1] = e, of N rows."""

    outcome: np.ndarray
    propensity: np.ndarray

    def scores(self, trial: Trial) -> np.ndarray:
        """[N, A]: doubly robust scores, whose mean given x is tau_a(x) if mu or e is right.

        mu_a - mu_0 + 1[arm = a] (y - mu_a) / e_a - 1[arm = 0] (y - mu_0) / e_0 (Robins, Rotnitzky & Zhao 1994).
        """
        received = trial.arm[:, None] == np.arange(len(trial.arms))
        value = self.outcome + received * (trial.outcome[:, None] - self.outcome) / self.propensity
        return value[:, 1:] - value[:, :1]

    def pair_propensity(self, treatment: int) -> np.ndarray:
        """[N]: P(treatment | treatment or control, x)."""
        mine, control = self.propensity[:, treatment], self.propensity[:, 0]
        return mine / (mine + control)


@dataclass(frozen=True)
class CrossFit:
    """`held_out`: each training row by the folds without it; further rows by the mean of all folds' regressions."""

    held_out: Nuisances
    outcome: Sequence[Sequence[FittedMean]]  # by fold, by arm
    propensity: Sequence[Sequence[FittedMean]] | None  # None = the design's
    shares: np.ndarray  # float64 [A + 1]: of the arms in training

    def predict(self, table: np.ndarray, *, propensity: np.ndarray | None = None) -> Nuisances:
        """Of further rows; `propensity` [N, A + 1] of a design, without which the arms' shares stand for it."""
        outcome = np.mean([_columns(fold, table) for fold in self.outcome], axis=0)
        if propensity is None and self.propensity is not None:
            propensity = _bounded(np.mean([_columns(fold, table) for fold in self.propensity], axis=0))
        return Nuisances(outcome, np.broadcast_to(self.shares if propensity is None else propensity, outcome.shape))


def cross_fit(trial: Trial, learner: BaseLearner, rng: np.random.Generator, *, count: int = 5) -> CrossFit:
    """Fit mu of every arm, and e where the design does not say it, on all folds but one, for each of `count` folds."""
    fold = folds(trial.units, rng, count=count)
    shape = (len(trial.arm), len(trial.arms))
    outcome, propensity, by_outcome, by_propensity = np.empty(shape), np.empty(shape), [], []
    for number in range(count):
        inside, rest = fold == number, trial.part(fold != number)
        by_outcome.append(_outcome_fits(rest, learner))
        outcome[inside] = _columns(by_outcome[-1], trial.table[inside])
        if trial.propensity is None:
            by_propensity.append(_arm_fits(rest, learner))
            propensity[inside] = _bounded(_columns(by_propensity[-1], trial.table[inside]))
    known = trial.propensity is not None
    held_out = Nuisances(outcome, trial.propensity if trial.propensity is not None else propensity)
    return CrossFit(held_out, by_outcome, None if known else by_propensity, trial.rows_per_arm / len(trial.arm))


def _outcome_fits(trial: Trial, learner: BaseLearner) -> list[FittedMean]:
    rows = [trial.arm == arm for arm in range(len(trial.arms))]
    return [learner.fit(trial.table[some], trial.outcome[some]) for some in rows]


def _arm_fits(trial: Trial, learner: BaseLearner) -> list[FittedMean]:
    """P(arm | x), one against the rest; of two arms the second is what the first leaves."""
    arms = range(1, 2) if trial.treatments == 1 else range(len(trial.arms))
    return [learner.fit(trial.table, (trial.arm == arm).astype(np.float64)) for arm in arms]


def _columns(fits: Sequence[FittedMean], table: np.ndarray) -> np.ndarray:
    return np.column_stack([fit.predict(table) for fit in fits])


def _bounded(propensity: np.ndarray) -> np.ndarray:
    """Shares [N, A + 1] within [LEAST, 1 - LEAST], of P(arm) one against the rest."""
    if propensity.shape[1] == 1:
        propensity = np.column_stack([1 - propensity, propensity])
    propensity = propensity.clip(TINY, None)
    return (propensity / propensity.sum(axis=1, keepdims=True)).clip(LEAST, 1 - LEAST)
