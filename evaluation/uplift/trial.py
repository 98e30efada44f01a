"""A trial: who was treated with what, and what came of it; the data that effects are learned and judged from.

Symbols of this package: x features, a the arm received (0 = control, 1..A a treatment each), y outcome, e_a(x) =
P(arm a | x) the propensity, mu_a(x) = E[y | x, a], tau_a(x) = mu_a(x) - mu_0(x) the effect (uplift) of treatment a.
tau is an effect where, given x, who was treated does not depend on what would come of it: by a draw, or because x
holds all that decided.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evaluation.counterfactual.refusals import (
    refuse_infinite,
    refuse_lengths,
    refuse_numbers,
    refuse_probabilities,
    refuse_where,
)

CERTAIN = "a unit that could not have had another arm says nothing of its effect: leave it out of the trial."


@dataclass(frozen=True)
class Trial:
    """N rows: `table` float [N, F], `arm` int [N], `outcome` float64 [N], any unit of it.

    `unit` [N]: what stands or falls together (a shopper), None = each row. `propensity` [N, A + 1]: e(x) where the
    design says it, None = to be estimated. Raises ValueError for what cannot be read, with the row and its value.
    """

    table: np.ndarray
    arm: np.ndarray
    outcome: np.ndarray
    arms: tuple[str, ...] = ("control", "treated")
    unit: np.ndarray | None = None
    propensity: np.ndarray | None = None

    def __post_init__(self) -> None:
        refuse_lengths({"table": self.table, "arm": self.arm, "outcome": self.outcome, "unit": self.units})
        refuse_numbers(self.arm, name="arm", count=len(self.arms), columns="arms")
        refuse_infinite(self.outcome, name="outcome")
        missing = [name for name, rows in zip(self.arms, self.rows_per_arm, strict=True) if not rows]
        if missing:
            raise ValueError(f"arm: no row received {missing}; there are {self.counts()}: leave the arm out.")
        if self.propensity is not None:
            refuse_probabilities(self.propensity, name="propensity", rows=len(self.arm))
            if self.propensity.shape[1] != len(self.arms):
                raise ValueError(f"propensity: {self.propensity.shape[1]} columns; the arms are {list(self.arms)}.")
            least = self.propensity.min(axis=1)
            refuse_where(least <= 0, least, name="propensity", remedy=CERTAIN)

    @property
    def units(self) -> np.ndarray:
        return np.arange(len(self.arm)) if self.unit is None else self.unit

    @property
    def treatments(self) -> int:
        """A: how many arms there are beside control."""
        return len(self.arms) - 1

    @property
    def rows_per_arm(self) -> np.ndarray:
        return np.bincount(self.arm, minlength=len(self.arms))

    def counts(self) -> str:
        """Rows of every arm, in words."""
        return ", ".join(f"{rows:,} {name}" for name, rows in zip(self.arms, self.rows_per_arm, strict=True))

    def part(self, rows: np.ndarray) -> Trial:
        """Some of the rows (bool [N] or positions)."""
        unit = None if self.unit is None else self.unit[rows]
        propensity = None if self.propensity is None else self.propensity[rows]
        return Trial(self.table[rows], self.arm[rows], self.outcome[rows], self.arms, unit, propensity)

    def pair(self, treatment: int) -> np.ndarray:
        """bool [N]: the rows of one treatment and of control."""
        return (self.arm == 0) | (self.arm == treatment)


def folds(unit: np.ndarray, rng: np.random.Generator, *, count: int) -> np.ndarray:
    """Fold int [N] of every row, 0..count - 1: units at random, all rows of a unit in one; raises ValueError."""
    number = np.unique(unit, return_inverse=True)[1]
    units = int(number.max()) + 1
    if units < count:
        raise ValueError(f"unit: {units} units are too few for {count} folds; give fewer folds or more units.")
    return (rng.permutation(units) % count)[number]
