"""The value of targeting: what choices of arms would have earned, by doubly robust estimation (counterfactual)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from evaluation.counterfactual.decisions import EstimatorConfig, dr, read
from evaluation.counterfactual.intervals import IntervalConfig, PolicyEstimate, interval
from evaluation.counterfactual.terms import Terms
from evaluation.uplift.nuisances import Nuisances
from evaluation.uplift.trial import Trial


@dataclass(frozen=True)
class ArmEconomics:
    """`worth`: money per unit of outcome; `cost` [N, A + 1]: money that each arm costs each row, 0 for control."""

    worth: float
    cost: np.ndarray


@dataclass(frozen=True)
class TargetingValue:
    """Money per row: `value` = worth of outcomes less costs, `gain` = that less what treating nobody brings."""

    value: PolicyEstimate
    gain: PolicyEstimate
    treated: float  # share of rows
    cost: float  # per row


def targeting_values(
    trial: Trial,
    nuisances: Nuisances,
    choices: Mapping[str, np.ndarray],
    *,
    economics: ArmEconomics,
    rng: np.random.Generator,
) -> dict[str, TargetingValue]:
    """Of every choice of arms (int [N] by name), on rows that neither the choice nor the nuisances learned from."""
    nobody = _terms(trial, nuisances, np.zeros(len(trial.arm), np.int64), economics)
    result = {}
    for name, arm in choices.items():
        terms = _terms(trial, nuisances, arm, economics)
        parts = (_by_unit(terms, trial), _by_unit(_less(terms, nobody), trial))
        value, over = (interval(part, rng=rng, config=IntervalConfig()) for part in parts)
        cost = economics.cost[np.arange(len(arm)), arm].mean()
        result[name] = TargetingValue(value, over, float((arm > 0).mean()), float(cost))
    return result


def _terms(trial: Trial, nuisances: Nuisances, arm: np.ndarray, economics: ArmEconomics) -> Terms:
    rows = np.arange(len(arm))
    log = read(
        economics.worth * trial.outcome - economics.cost[rows, trial.arm],
        trial.arm,
        nuisances.propensity[rows, trial.arm],
        (arm[:, None] == np.arange(len(trial.arms))).astype(np.float64),
        model=economics.worth * nuisances.outcome - economics.cost,
    )
    return dr(log, EstimatorConfig())


def _less(terms: Terms, other: Terms) -> Terms:
    """The difference of two doubly robust values of the same rows."""
    assert terms.base is not None
    assert other.base is not None
    return Terms(terms.correction - other.correction, terms.base - other.base)


def _by_unit(terms: Terms, trial: Trial) -> Terms:
    if trial.unit is None:
        return terms
    number = np.unique(trial.unit, return_inverse=True)[1]
    return terms.by_unit(number, int(number.max()) + 1)
