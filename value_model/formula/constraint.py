"""What must hold while something else is maximised; a policy file's [[constraints]], or one line of text."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from enum import StrEnum
from statistics import NormalDist

from marketplace.finding import Where
from value_model.formula.metrics import NAMES, closest

_TEXT = re.compile(
    r"(?P<metric>\w+)\s*(?P<side>>=|<=)\s*(?P<bound>[+-]?\d*\.?\d+(?:e[+-]?\d+)?)(?P<percent>%?)(?P<change>\s+change)?"
    r"(?:\s+at\s+(?P<confidence>\d+(?:\.\d+)?)%)?",
    re.IGNORECASE,
)
GRAMMAR = (
    '"ctr >= -1%" (relative change), "newcomer_exposure >= 0.08" (level), "gmv >= -5 change" (change in its unit); '
    '<= for at most; "at 90%" behind it for another confidence than 95 %'
)


class BoundKind(StrEnum):
    """What a bound is about."""

    LEVEL = "level"
    CHANGE = "change"
    RELATIVE = "relative"


@dataclass(frozen=True)
class Constraint:
    """`metric` is at least / at most the bound with one-sided `confidence`.

    Constraint("ctr", at_least=-0.01, of=BoundKind.RELATIVE) = CTR loses at most 1 %;
    Constraint("newcomer_exposure", at_least=0.08) = newcomers get 8 % of what is examined.
    """

    metric: str
    at_least: float | None = None
    at_most: float | None = None
    of: BoundKind = BoundKind.LEVEL
    confidence: float = 0.95
    owner: str = ""
    reason: str = ""
    where: Where = field(default=Where("constraint"), compare=False, repr=False)

    def __post_init__(self) -> None:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError(f"constraint on {self.metric!r}: give at_least or at_most, one of them.")
        if not 0.5 <= self.confidence < 1:
            raise ValueError(f"constraint on {self.metric!r}: confidence is {self.confidence}; give 0.5 to below 1.")

    @property
    def bound(self) -> float:
        bound = self.at_least if self.at_least is not None else self.at_most
        assert bound is not None
        return bound

    def moved_to(self, bound: float) -> Constraint:
        """The same with another bound."""
        return replace(self, at_least=bound) if self.at_least is not None else replace(self, at_most=bound)

    @property
    def side(self) -> str:
        return "at_least" if self.at_least is not None else "at_most"

    @property
    def sign(self) -> float:
        """+1 where more is safer."""
        return 1.0 if self.at_least is not None else -1.0

    @property
    def z(self) -> float:
        return NormalDist().inv_cdf(self.confidence)

    @property
    def subject(self) -> str:
        """What is bounded: no two constraints of a policy share it."""
        of = (
            "" if self.of is BoundKind.LEVEL else f", {self.of} change" if self.of is BoundKind.RELATIVE else ", change"
        )
        return f"{self.metric}{of} {self.side.replace('_', ' ')}"

    def __str__(self) -> str:
        what = {BoundKind.LEVEL: "", BoundKind.CHANGE: "change of ", BoundKind.RELATIVE: "relative change of "}[self.of]
        word = "at least" if self.sign > 0 else "at most"
        return f"{what}{self.metric} {word} {self.bound:g} at {self.confidence:.0%}"


def parse_constraint(text: str) -> Constraint:
    """The constraint that a line says, such as "ctr >= -1% at 90%"; raises ValueError with the grammar."""
    match = _TEXT.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"constraint {text!r} cannot be read. Write {GRAMMAR}.")
    metric, bound, percent = match["metric"], float(match["bound"]), bool(match["percent"])
    if metric not in NAMES:
        raise ValueError(f"constraint {text!r}: there is no metric {metric!r}. {closest(metric)}")
    if percent and (match["change"] or (match["bound"][0] not in "+-" and bound != 0)):
        level = f"{bound / 100:g}"
        raise ValueError(
            f"constraint {text!r}: a percentage is a relative change and bears its sign. "
            f"Write {metric} {match['side']} +{bound:g}% for that, or {metric} {match['side']} {level} for a level."
        )
    limit = bound / 100 if percent else bound
    return Constraint(
        metric,
        at_least=limit if match["side"] == ">=" else None,
        at_most=limit if match["side"] == "<=" else None,
        of=BoundKind.RELATIVE if percent else BoundKind.CHANGE if match["change"] else BoundKind.LEVEL,
        confidence=float(match["confidence"] or 95) / 100,
    )
