"""A slate filled place by place: value, diversity, merchant prices and rules together, with any way to pick.

At each place every allowed item scores value + shadow price + diversity given the items above; `pick` takes one and
says with which probability. Since the scores depend only on the items above, that probability is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from value_model.policy import NO_TRAITS, Chosen, Greedy, Traits, finite
from value_model.slate_policies.diversity import Diversity
from value_model.slate_policies.rules import Room, Rules
from value_model.slate_policies.shadow_prices import ShadowPrices


class Pick(Protocol):
    """One place's choice: Greedy, PlackettLuce and EpsilonGreedy are picks."""

    def pick(self, score: np.ndarray, rng: np.random.Generator) -> tuple[int, float]:
        """(row, its probability) for scores float64 [n] of which at least one is above -inf."""
        ...


GREEDY = Greedy()
NO_RULES = Rules()


@dataclass(frozen=True)
class SequentialSlate:
    """The policy of all constraints; each part may be left out."""

    pick: Pick = GREEDY
    rules: Rules = NO_RULES
    diversity: Diversity | None = None
    prices: ShadowPrices | None = None

    def choose(self, value: np.ndarray, *, k: int, rng: np.random.Generator, traits: Traits = NO_TRAITS) -> Chosen:
        n = len(value)
        k = min(k, n)
        worth = finite(value)
        if self.prices is not None and traits.merchant is not None:
            worth = worth + self.prices.worth(traits.merchant)
        room = Room(worth, self.rules, traits, k=k)
        diversity = None if self.diversity is None else self.diversity.begin(traits, n=n, k=k)
        order, propensity = np.empty(k, np.int64), np.empty(k)
        for place in range(k):
            if room.exhausted:
                return Chosen(order[:place].copy(), propensity[:place].copy())
            score = room.worth_now() if diversity is None else room.worth_now() + diversity.worth
            row, probability = self.pick.pick(score, rng)
            order[place], propensity[place] = row, probability
            room.take(row)
            if diversity is not None and place + 1 < k:
                diversity.take(row)
        return Chosen(order, propensity)
