"""What must hold while something else is maximised."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist

import numpy as np

from value_model.tuning.metrics import Change
from value_model.tuning.scoring import Score


class Of(StrEnum):
    """What a bound is about."""

    LEVEL = "level"
    CHANGE = "change"
    RELATIVE = "relative"


@dataclass(frozen=True)
class Constraint:
    """`metric` is at least / at most the bound with one-sided `confidence`.

    Constraint("ctr", at_least=-0.01, of=Of.RELATIVE) = CTR loses at most 1 %;
    Constraint("newcomer_exposure", at_least=0.08) = newcomers get 8 % of what is examined.
    """

    metric: str
    at_least: float | None = None
    at_most: float | None = None
    of: Of = Of.LEVEL
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError(f"constraint on {self.metric!r}: give at_least or at_most, one of them.")
        if not 0.5 <= self.confidence < 1:
            raise ValueError(f"constraint on {self.metric!r}: confidence is {self.confidence}; give 0.5 to below 1.")

    @property
    def bound(self) -> float:
        found = self.at_least if self.at_least is not None else self.at_most
        assert found is not None
        return found

    @property
    def sign(self) -> float:
        """+1 where more is safer."""
        return 1.0 if self.at_least is not None else -1.0

    @property
    def z(self) -> float:
        return NormalDist().inv_cdf(self.confidence)

    def slack(self, score: Score, *, z: float | None = None) -> np.ndarray:
        """[W]: how far the one-sided bound (z standard errors) is on the right side; negative = not proven."""
        value, error = getattr(score, self.of.value), getattr(score, f"{self.of.value}_error")
        return self.sign * (value - self.bound) - (self.z if z is None else z) * error

    def holds(self, change: Change) -> bool:
        """Whether it is proven, from an interval of any kind, rescaled to the one-sided confidence."""
        estimate = {Of.LEVEL: change.proposed, Of.CHANGE: change.difference, Of.RELATIVE: change.relative}[self.of]
        edge = estimate.low if self.sign > 0 else estimate.high
        two_sided = NormalDist().inv_cdf(0.5 + estimate.level / 2)
        reached = estimate.value + (edge - estimate.value) * self.z / two_sided
        return bool(self.sign * (reached - self.bound) >= 0)

    def __str__(self) -> str:
        what = {Of.LEVEL: "", Of.CHANGE: "change of ", Of.RELATIVE: "relative change of "}[self.of]
        word = "at least" if self.sign > 0 else "at most"
        return f"{what}{self.metric} {word} {self.bound:g} at {self.confidence:.0%}"
