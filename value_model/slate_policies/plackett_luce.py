"""Plackett-Luce: items are drawn without replacement, each place with odds exp(value / temperature).

Source of the top-k draw: Kool et al. 2019, Stochastic Beams.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from marketplace.plackett_luce import conditionals
from value_model.slate_policies.slate_policy import NO_ATTRIBUTES, ItemAttributes, SlateChoice, best, finite

BELOW = 1e4  # log odds: practically never before what is finite, and gumbel noise still tells apart


@dataclass(frozen=True)
class PlackettLuce:
    """P(item i here | items above) = exp(v_i / t) / sum over the items not above of exp(v / t).

    `temperature` t is in the value's unit: values further apart than a few t almost never change places.
    """

    temperature: float
    kind: ClassVar[str] = "plackett_luce"
    amount: ClassVar[str] = "temperature"
    most: ClassVar[float] = math.inf

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError(f"temperature is {self.temperature}; it must be above 0, in the value's unit. Use Greedy.")

    def to_toml(self) -> dict[str, Any]:
        return {"kind": self.kind, self.amount: self.temperature}

    def scaled(self, factor: float) -> PlackettLuce:
        """The same where one unit of value is called `factor`."""
        return PlackettLuce(self.temperature * factor)

    def choose(
        self, value: np.ndarray, *, k: int, rng: np.random.Generator, attributes: ItemAttributes = NO_ATTRIBUTES
    ) -> SlateChoice:
        utility = self._log_odds(value)
        order = best(utility + rng.gumbel(size=len(utility)), k)
        return SlateChoice(order, list_propensity(utility, order))

    def propensity(
        self, value: np.ndarray, order: np.ndarray, *, k: int | None = None, attributes: ItemAttributes = NO_ATTRIBUTES
    ) -> np.ndarray:
        return list_propensity(self._log_odds(value), order)

    def _log_odds(self, value: np.ndarray) -> np.ndarray:
        """value / t; whatever is not finite stands BELOW all that is, with equal odds among its like."""
        known = np.isfinite(value)
        lowest = np.asarray(value)[known].min(initial=np.inf) / self.temperature if known.any() else 0.0
        return np.where(known, finite(value) / self.temperature, lowest - BELOW)

    def pick(self, score: np.ndarray, rng: np.random.Generator) -> tuple[int, float]:
        """One row drawn with odds exp(score / t), and its probability; -inf is never drawn."""
        odds = self._unscaled(score)
        cumulated = odds.cumsum()
        total = cumulated[-1]
        row = int(cumulated.searchsorted(rng.random() * total, side="right"))
        return row, float(odds[row] / total)

    def odds(self, score: np.ndarray) -> np.ndarray:
        """The softmax of score / t."""
        odds = self._unscaled(score)
        return odds / odds.sum()

    def _unscaled(self, score: np.ndarray) -> np.ndarray:
        odds = score - score[score.argmax()]
        odds *= 1.0 / self.temperature
        return np.exp(odds, out=odds)


def list_propensity(utility: np.ndarray, order: np.ndarray) -> np.ndarray:
    """float64 [k]: P(order[j] | order[:j]) under Plackett-Luce with log-odds `utility` [n]."""
    if len(order) == 0:
        return np.empty(0)
    chosen = utility[order]
    others = np.delete(utility, order)
    top = others.max(initial=-np.inf)
    rest = top + np.log(np.exp(others - top).sum()) if len(others) else -np.inf
    return conditionals(chosen, rest)
