"""Interval arithmetic over the grammar: which values can a formula, and every part of it, take?

An interval may be wider than the truth (x - x is not seen to be 0) but never narrower. A branch of a condition such
as `net > 0` is judged with `net` narrowed to what the condition lets through. Slates hold at most SLATE items.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from value_model.formula.tree import COMPARISONS, Apply, Name, Node, Number

SLATE = 1000
_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


@dataclass(frozen=True)
class Interval:
    """[low, high]; `undefined` = the part may be NaN or infinite, as of a logarithm of 0."""

    low: float
    high: float
    undefined: bool = False

    def hull(self, other: Interval) -> Interval:
        return Interval(min(self.low, other.low), max(self.high, other.high), self.undefined or other.undefined)

    def within(self, low: float, high: float) -> Interval:
        """The part that lies in [low, high]; the nearest point where none does."""
        return Interval(min(max(self.low, low), high), max(min(self.high, high), low), self.undefined)


@dataclass(frozen=True, eq=False)
class KnownIntervals:
    """The intervals of formulas where names, and perhaps whole subtrees, are known to lie in `known`.

    Each node's interval and each narrowing is computed once: conditions within conditions cost no more than others.
    """

    known: Mapping[Node, Interval]
    _intervals: dict[Node, Interval] = field(default_factory=dict, init=False)
    _narrowed: dict[tuple[Node, bool], KnownIntervals] = field(default_factory=dict, init=False)

    def interval_of(self, node: Node) -> Interval:
        """The interval of `node`, all of whose names are known."""
        if node not in self._intervals:
            interval = self._computed(node)
            if isinstance(node, Apply) and node in self.known:
                interval = interval.within(self.known[node].low, self.known[node].high)
            self._intervals[node] = interval
        return self._intervals[node]

    def narrowed(self, condition: Node, *, holds: bool) -> KnownIntervals:
        """The ranges where the condition is known to hold, or not to."""
        if (condition, holds) not in self._narrowed:
            self._narrowed[condition, holds] = self._where(condition, holds)
        return self._narrowed[condition, holds]

    def _where(self, condition: Node, holds: bool) -> KnownIntervals:
        match condition:
            case Apply("and", (left, right)) if holds:
                return self.narrowed(left, holds=True).narrowed(right, holds=True)
            case Apply("or", (left, right)) if not holds:
                return self.narrowed(left, holds=False).narrowed(right, holds=False)
            case Apply("not", (inner,)):
                return self.narrowed(inner, holds=not holds)
            case Apply("<" | "<=" | ">" | ">=" as order, (left, right)):
                bounds = self._bounded(left, order, right, holds) | self._bounded(right, _FLIPPED[order], left, holds)
                return KnownIntervals({**self.known, **bounds}) if bounds else self
        return self

    def _bounded(self, part: Node, order: str, other: Node, holds: bool) -> dict[Node, Interval]:
        """The part's interval once `part order other` holds, or does not."""
        bound, span = self.interval_of(other), self.interval_of(part)
        if not holds and (bound.undefined or span.undefined):
            return {}  # a comparison with NaN does not hold, and its opposite does not either
        above = (order in (">", ">=")) == holds
        return {part: span.within(bound.low, math.inf) if above else span.within(-math.inf, bound.high)}

    def _computed(self, node: Node) -> Interval:
        match node:
            case Number(value):
                return Interval(value, value)
            case Name():
                return self.known[node]
            case Apply("where", (condition, yes, no)):
                chosen = self.narrowed(condition, holds=True).interval_of(yes)
                return chosen.hull(self.narrowed(condition, holds=False).interval_of(no))
        parts = [self.interval_of(argument) for argument in node.arguments]
        result = _RULES[node.function](*parts)
        return Interval(result.low, result.high, result.undefined or any(part.undefined for part in parts))


def _corners(function: Callable[[float, float], float], a: Interval, b: Interval) -> Interval:
    with np.errstate(all="ignore"):
        values = [function(x, y) for x in (a.low, a.high) for y in (b.low, b.high)]
    real = [float(value) for value in values if not math.isnan(value)]
    return Interval(min(real, default=0.0), max(real, default=0.0))


def _sum(*parts: Interval) -> Interval:
    low, high = sum(part.low for part in parts), sum(part.high for part in parts)
    return Interval(-math.inf if math.isnan(low) else low, math.inf if math.isnan(high) else high)


def _times(x: float, y: float) -> float:
    return 0.0 if x == 0 or y == 0 else x * y


def _divide(a: Interval, b: Interval) -> Interval:
    if b.low <= 0 <= b.high:
        return Interval(-math.inf, math.inf, undefined=True)
    return _corners(lambda x, y: x / y, a, b)


def _power(a: Interval, b: Interval) -> Interval:
    whole = b.low == b.high and b.low.is_integer()
    undefined = (a.low < 0 and not whole) or (a.low <= 0 <= a.high and b.low < 0)
    corners = _corners(lambda x, y: float(np.power(np.float64(x), np.float64(y))), a, b)
    if a.low < 0 < a.high and whole:
        corners = Interval(min(corners.low, 0.0), max(corners.high, 0.0))
    if a.low < 1 < a.high and b.low < 0 < b.high:
        corners = Interval(min(corners.low, 1.0), max(corners.high, 1.0))
    return Interval(corners.low, corners.high, undefined)


def _rising(function: Callable[[np.float64], np.float64], *, domain: float = -math.inf) -> Callable[..., Interval]:
    """The rule of an increasing function that is undefined at or below `domain` (sqrt: below)."""

    def rule(x: Interval) -> Interval:
        with np.errstate(all="ignore"):
            low, high = (float(function(np.float64(max(end, domain)))) for end in (x.low, x.high))
        return Interval(low, high, undefined=x.low <= domain if domain > -math.inf else False)

    return rule


def _sqrt(x: Interval) -> Interval:
    return Interval(math.sqrt(max(x.low, 0.0)), math.sqrt(max(x.high, 0.0)), undefined=x.low < 0)


def _abs(x: Interval) -> Interval:
    return Interval(0.0 if x.low <= 0 <= x.high else min(abs(x.low), abs(x.high)), max(abs(x.low), abs(x.high)))


def _minmax(*parts: Interval, pick: Callable[[list[float]], float]) -> Interval:
    return Interval(pick([part.low for part in parts]), pick([part.high for part in parts]))


_TRUTH = Interval(0.0, 1.0)
_RULES: dict[str, Callable[..., Interval]] = {
    "+": _sum,
    "*": lambda a, b: _corners(_times, a, b),
    "/": _divide,
    "**": _power,
    "neg": lambda x: Interval(-x.high, -x.low),
    "abs": _abs,
    "clip": lambda x, low, high: _minmax(_minmax(x, low, pick=max), high, pick=min),
    "exp": _rising(np.exp),
    "log": _rising(np.log, domain=0.0),
    "log1p": _rising(np.log1p, domain=-1.0),
    "max": lambda *parts: _minmax(*parts, pick=max),
    "min": lambda *parts: _minmax(*parts, pick=min),
    "number": lambda x: x,
    "sigmoid": _rising(lambda x: 1.0 / (1.0 + np.exp(-x))),
    "sqrt": _sqrt,
    "slate_mean": lambda x: x,
    "slate_min": lambda x: x,
    "slate_max": lambda x: x,
    "slate_sum": lambda x: Interval(min(x.low, SLATE * x.low), max(x.high, SLATE * x.high)),
    "slate_std": lambda x: Interval(0.0, (x.high - x.low) / 2),
    "slate_rank": lambda x: Interval(1.0, SLATE),
    "slate_minmax": lambda x: _TRUTH,
    "slate_nth": lambda x, group: Interval(0.0, SLATE - 1.0),
    **{name: lambda *parts: _TRUTH for name in (*COMPARISONS, "and", "or", "not")},
}
