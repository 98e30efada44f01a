"""Epsilon-greedy: at every place the best remaining item, or with probability epsilon any remaining one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from value_model.slate_policies.sequential import SequentialSlate
from value_model.slate_policies.slate_policy import NO_ATTRIBUTES, ItemAttributes, SlateChoice


@dataclass(frozen=True)
class EpsilonGreedy:
    """P(item i here | items above) = epsilon / m + (1 - epsilon) [i is the best of the m remaining]."""

    epsilon: float
    kind: ClassVar[str] = "epsilon"
    amount: ClassVar[str] = "epsilon"
    most: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.epsilon <= 1:
            raise ValueError(f"epsilon is {self.epsilon}; it is a probability, between 0 and 1.")

    def to_toml(self) -> dict[str, Any]:
        return {"kind": self.kind, self.amount: self.epsilon}

    def scaled(self, factor: float) -> EpsilonGreedy:
        """A probability has no unit."""
        return self

    def choose(
        self, value: np.ndarray, *, k: int, rng: np.random.Generator, attributes: ItemAttributes = NO_ATTRIBUTES
    ) -> SlateChoice:
        return SequentialSlate(pick=self).choose(value, k=k, rng=rng, attributes=attributes)

    def propensity(
        self, value: np.ndarray, order: np.ndarray, *, k: int | None = None, attributes: ItemAttributes = NO_ATTRIBUTES
    ) -> np.ndarray:
        return SequentialSlate(pick=self).propensity(value, order, k=k, attributes=attributes)

    def pick(self, score: np.ndarray, rng: np.random.Generator) -> tuple[int, float]:
        """A row and its probability; -inf is never drawn."""
        leader = int(score.argmax())
        allowed = np.flatnonzero(score > -np.inf)
        explores = rng.random() < self.epsilon
        row = int(allowed[rng.integers(len(allowed))]) if explores else leader
        return row, self.epsilon / len(allowed) + (1 - self.epsilon) * (row == leader)

    def odds(self, score: np.ndarray) -> np.ndarray:
        """epsilon spread over the allowed rows, the rest on the best."""
        allowed = score > -np.inf
        odds = self.epsilon / allowed.sum() * allowed
        odds[score.argmax()] += 1 - self.epsilon
        return odds
