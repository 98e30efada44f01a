"""Targeting: whom to treat with what, when treating costs and the budget ends.

Each unit gets the arm with the largest gain_a - (1 + price) cost_a, control with 0: `price` is what one more of the
budget would bring beyond itself, the smallest at which the budget suffices (its shadow price). The few units between
which a price cannot decide are treated in order of what they gain per cost until the budget ends.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evaluation.counterfactual.refusals import refuse_infinite, refuse_where

HALVINGS = 100  # of the price: to the precision of float64
TINY = 1e-300  # stands for a cost of 0 that something is divided by


@dataclass(frozen=True)
class Targeting:
    """`arm` int [N], 0 = not treated; `price` per unit of the budget; `cost` and predicted `gain` of it in all."""

    arm: np.ndarray
    price: float
    cost: float
    gain: float

    def policy(self, arms: int) -> np.ndarray:
        """[N, arms]: P(arm | x), for the counterfactual estimators."""
        return (self.arm[:, None] == np.arange(arms)).astype(np.float64)


def target(gain: np.ndarray, cost: np.ndarray, *, budget: float = np.inf) -> Targeting:
    """The best arms for gain [N, A], in money, at cost [N, A] >= 0 of the same money, sum of costs <= budget."""
    refuse_infinite(gain.sum(axis=1), name="gain")
    least = cost.min(axis=1)
    refuse_where(np.asarray(~(least >= 0)), least, name="cost", remedy="a cost is an amount of at least 0.")
    if not budget >= 0:
        raise ValueError(f"budget is {budget}; give an amount of at least 0.")
    arm, price = _best(gain, cost, 0.0), 0.0
    if _total(cost, arm) > budget:
        lower, price = _prices(gain, cost, budget)
        arm = _filled(gain, cost, _best(gain, cost, price), _best(gain, cost, lower), budget)
    return Targeting(arm, price, _total(cost, arm), _total(gain, arm))


def _best(gain: np.ndarray, cost: np.ndarray, price: float) -> np.ndarray:
    net = gain - (1 + price) * cost
    best = net.argmax(axis=1)
    return np.where(net[np.arange(len(net)), best] > 0, best + 1, 0)


def _total(amount: np.ndarray, arm: np.ndarray) -> float:
    rows = np.flatnonzero(arm)
    return float(amount[rows, arm[rows] - 1].sum())


def _prices(gain: np.ndarray, cost: np.ndarray, budget: float) -> tuple[float, float]:
    """The largest price at which the costs exceed the budget and the smallest at which they do not, by halving."""
    paid = cost > 0
    low, high = 0.0, max(float((gain[paid] / cost[paid]).max()), 1.0)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _total(cost, _best(gain, cost, middle)) > budget else (low, middle)
    return low, high


def _filled(gain: np.ndarray, cost: np.ndarray, arm: np.ndarray, dearer: np.ndarray, budget: float) -> np.ndarray:
    """`arm`, and where `dearer` is another the best of these per cost, as far as the budget reaches."""
    rows = np.flatnonzero(dearer != arm)
    extra_cost, extra_gain = (_of(amount, dearer, rows) - _of(amount, arm, rows) for amount in (cost, gain))
    order = np.argsort(-extra_gain / np.maximum(extra_cost, TINY), kind="stable")
    fits = rows[order[np.cumsum(extra_cost[order]) <= budget - _total(cost, arm)]]
    filled = arm.copy()
    filled[fits] = dearer[fits]
    return filled


def _of(amount: np.ndarray, arm: np.ndarray, rows: np.ndarray) -> np.ndarray:
    chosen = arm[rows]
    return np.where(chosen > 0, amount[rows, np.maximum(chosen, 1) - 1], 0.0)
