"""Where weights are searched, and from where: bounds on a logarithmic scale, and weights of equal contribution.

Weights span orders of magnitude and matter by their ratios, so each is searched on a logarithmic scale; 0 stands for
everything below a thousandth of the weight's equal contribution.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from value_model.formula.evaluate import evaluate
from value_model.formula.value_policy import ValuePolicy
from value_model.tuning.evidence import Evidence

SMALL = 1e-3  # of the equal-contribution weight: decides nothing any more


@dataclass(frozen=True)
class SearchConfig:
    """`storage` is an Optuna URL such as sqlite:///study.db; a study of the same name goes on where it stopped."""

    trials: int = 240
    batch: int = 16  # trials asked for at once
    polish: float = 0.5  # share of the trials that step from the best found so far
    steps: tuple[float, ...] = (0.08, 0.25, 0.6)  # sd of those steps, in log weight, in turn
    objective_z: float = 0.5  # standard errors taken off the objective: a lead must be sure, not lucky
    storage: str | None = None
    study: str = "weights"
    bar: bool = False  # drawn on the screen
    progress: Callable[[int], None] | None = None  # called after every batch with its number of trials


@dataclass(frozen=True)
class Ranges:
    """Where each weight is searched: low and high > 0."""

    low: Mapping[str, float]
    high: Mapping[str, float]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.low)


def equal_contribution(policy: ValuePolicy, evidence: Evidence, names: Sequence[str]) -> dict[str, float]:
    """Weights under which switching off any one of `names` moves the values of a slate by as much as any other.

    Moves are standard deviations within slates; the scale is that of today's largest mover. Within bounds.
    """
    columns, mask = evidence.slates.columns, evidence.slates.mask
    weights = {w.name: w.value for w in policy.weights}
    for name in names:
        if weights[name] == policy.weight[name].neutral:
            weights[name] = policy.weight[name].high / 10
    moved = {n: _moved(policy, columns, mask, weights, n) for n in names}
    most = max(moved.values())
    for _ in range(3):
        for name in names:
            weight = policy.weight[name]
            if moved[name] > 0 and weight.term:
                weights[name] = float(np.clip(weights[name] * most / moved[name], weight.low, weight.high))
        moved = {n: _moved(policy, columns, mask, weights, n) for n in names}
    return {name: weights[name] for name in names}


def _moved(
    policy: ValuePolicy, columns: Mapping[str, np.ndarray], mask: np.ndarray, weights: Mapping[str, float], name: str
) -> float:
    full = evaluate(policy, columns, weights=weights, mask=mask)
    without = evaluate(policy, columns, weights={**weights, name: policy.weight[name].neutral}, mask=mask)
    moved = np.where(mask & np.isfinite(full) & np.isfinite(without), full - without, 0.0)
    count = mask.sum(axis=1, keepdims=True)
    centred = np.where(mask, moved - moved.sum(axis=1, keepdims=True) / np.maximum(count, 1), 0.0)
    return float(np.sqrt((centred**2).sum() / count.sum()))


def ranges(policy: ValuePolicy, start: Mapping[str, float]) -> Ranges:
    """The owners' bounds; from SMALL times the start where the low bound is 0."""
    for name in start:
        if policy.weight[name].high <= 0:
            raise ValueError(
                f"weight {name!r} has the high bound {policy.weight[name].high:g}; only weights above 0 "
                "are searched: turn its sign in the formula, or leave it out of `names`."
            )
    low = {
        n: max(policy.weight[n].low, SMALL * max(value, SMALL * policy.weight[n].high)) for n, value in start.items()
    }
    return Ranges(low, {name: policy.weight[name].high for name in start})
