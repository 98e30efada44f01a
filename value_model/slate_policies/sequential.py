"""A slate filled place by place: value, diversity and rules together, with any way to pick.

At each place every allowed item scores value + diversity given the items above; `pick` takes one and says with which
probability. Where a rule draws places itself, with probabilities d_i, P(item i here) = d_i + (1 - sum d) pick_i.
Since all of it depends only on the items above, the probability is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from value_model.slate_policies.diversity import Diversity
from value_model.slate_policies.slate_policy import NO_ATTRIBUTES, Greedy, ItemAttributes, SlateChoice, finite
from value_model.slate_policies.slate_rule import RemainingSlots, SlateRule


class Pick(Protocol):
    """One place's choice: Greedy, PlackettLuce and EpsilonGreedy are picks."""

    def pick(self, score: np.ndarray, rng: np.random.Generator) -> tuple[int, float]:
        """(row, its probability) for scores float64 [n] of which at least one is above -inf."""
        ...

    def odds(self, score: np.ndarray) -> np.ndarray:
        """float64 [n]: every row's probability; sums to 1."""
        ...


GREEDY = Greedy()


@dataclass(frozen=True)
class SequentialSlate:
    """The policy of all constraints; each part may be left out."""

    pick: Pick = GREEDY
    rules: tuple[SlateRule, ...] = ()
    diversity: Diversity | None = None

    def choose(
        self, value: np.ndarray, *, k: int, rng: np.random.Generator, attributes: ItemAttributes = NO_ATTRIBUTES
    ) -> SlateChoice:
        k = min(k, len(value))
        filling = _Filling(self, value, attributes, k=k)
        order, propensity = np.empty(k, np.int64), np.empty(k)
        for place in range(k):
            if filling.exhausted:
                return SlateChoice(order[:place].copy(), propensity[:place].copy())
            order[place], propensity[place] = self._pick(filling, rng)
            filling.take(int(order[place]))
        return SlateChoice(order, propensity)

    def propensity(
        self, value: np.ndarray, order: np.ndarray, *, k: int | None = None, attributes: ItemAttributes = NO_ATTRIBUTES
    ) -> np.ndarray:
        filling = _Filling(self, value, attributes, k=len(order) if k is None else min(k, len(value)))
        propensity = np.zeros(len(order))
        for place, row in enumerate(order.tolist()):
            if filling.exhausted:
                break
            propensity[place] = self._odds(filling)[row]
            if propensity[place] == 0.0:
                break  # what would follow an impossible item has no probability
            filling.take(row)
        return propensity

    def _pick(self, filling: _Filling, rng: np.random.Generator) -> tuple[int, float]:
        """The row that takes the next place, and its probability."""
        score = filling.score()
        if filling.drawn(score) is None:
            return self.pick.pick(score, rng)
        odds = self._odds(filling)
        cumulated = odds.cumsum()
        row = int(cumulated.searchsorted(rng.random() * cumulated[-1], side="right"))
        return row, float(odds[row])

    def _odds(self, filling: _Filling) -> np.ndarray:
        """float64 [n]: every row's probability of the next place."""
        score = filling.score()
        odds, drawn = self.pick.odds(score), filling.drawn(score)
        return odds if drawn is None else drawn + (1 - drawn.sum()) * odds


class _Filling:
    """One slate under way."""

    def __init__(self, policy: SequentialSlate, value: np.ndarray, attributes: ItemAttributes, *, k: int) -> None:
        self._slots = RemainingSlots(finite(value), policy.rules, attributes, k=k)
        self._diversity = None
        if policy.diversity is not None:
            self._diversity = policy.diversity.begin(attributes, n=len(value), k=k)
        self._left = k

    @property
    def exhausted(self) -> bool:
        return self._slots.exhausted

    def score(self) -> np.ndarray:
        """float64 [n]: what each item scores for the next place; -inf where it may not take it."""
        worth = self._slots.worth_now()
        return worth if self._diversity is None else worth + self._diversity.worth

    def drawn(self, score: np.ndarray) -> np.ndarray | None:
        """float64 [n]: what rules draw of the next place, among those that may take it; None = nothing."""
        return self._slots.drawn(score > -np.inf)

    def take(self, row: int) -> None:
        self._slots.take(row)
        self._left -= 1
        if self._diversity is not None and self._left > 0:
            self._diversity.take(row)
