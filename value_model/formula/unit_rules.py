"""The unit of a formula: what may be added to what.

A literal number stands beside any unit of counts (1 - ctr), and 0 beside any unit; beside money it must be a weight
with a unit. log, exp, sigmoid and powers with an exponent that is not a literal take pure numbers and counts and
return a pure number; money enters them as price / w_reference or as number(price), which drops the unit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from marketplace.finding import Finding, Where
from value_model.formula.policy_error import PolicyError
from value_model.formula.tree import COMPARISONS, Apply, Name, Node, Number, text
from value_model.formula.units import Unit

ONE = Unit()
_SAME = ("slate_mean", "slate_std", "slate_min", "slate_max", "slate_sum", "abs")
_TRANSCENDENTAL = ("log", "log1p", "exp", "sigmoid")


@dataclass(frozen=True)
class _Measured:
    """A unit; `literal` is the number itself where the node is one."""

    unit: Unit
    literal: float | None = None


def unit_of(node: Node, units: Mapping[str, Unit], *, where: Where) -> Unit:
    """The unit of `node` given those of its names; raises PolicyError where two do not go together."""
    return _UnitRules(units, where).measure(node).unit


class _UnitRules:
    def __init__(self, units: Mapping[str, Unit], where: Where) -> None:
        self.units = units
        self.where = where

    def refuse(self, reason: str, fix: str) -> PolicyError:
        return PolicyError([Finding("units", self.where, reason, fix)])

    def measure(self, node: Node) -> _Measured:
        match node:
            case Number(value):
                return _Measured(ONE, value)
            case Name(id):
                return _Measured(self.units[id])
            case Apply("neg", (argument,)):
                inner = self.measure(argument)
                return _Measured(inner.unit, None if inner.literal is None else -inner.literal)
            case Apply("*" | "/" as function, (left, right)):
                a, b = self.measure(left).unit, self.measure(right).unit
                return _Measured(a * b if function == "*" else a / b)
            case Apply("**", (left, right)):
                return _Measured(self.power(left, right))
            case Apply("sqrt", (argument,)):
                return _Measured(self.measure(argument).unit ** 0.5)
            case Apply("where", (condition, yes, no)):
                self.measure(condition)
                return _Measured(self.together((yes, no)))
        return _Measured(self.function(node))

    def function(self, node: Apply) -> Unit:
        if node.function in ("+", "min", "max", "clip"):
            return self.together(node.arguments)
        if node.function in COMPARISONS:
            self.together(node.arguments)
            return ONE
        measured = [self.measure(argument) for argument in node.arguments]
        if node.function in _TRANSCENDENTAL:
            return self.pure(measured[0].unit, node)
        if node.function in _SAME:
            return measured[0].unit
        return ONE  # and, or, not; slate_rank, slate_minmax, slate_nth, number

    def together(self, arguments: tuple[Node, ...]) -> Unit:
        """The one unit of arguments that are added, compared or chosen between."""
        measured = [self.measure(argument) for argument in arguments]
        firm = [i for i, m in enumerate(measured) if m.literal is None]
        if not firm:
            return ONE
        unit = measured[firm[0]].unit
        for argument, m in zip(arguments, measured, strict=True):
            free = m.literal is not None and (m.literal == 0 or not unit.money)
            if not free and m.unit != unit:
                raise self.refuse(
                    f"{text(argument)} is in {m.unit} and stands beside {text(arguments[firm[0]])} in {unit}.",
                    f"Give it a weight in {unit / m.unit}, or correct the unit of a weight.",
                )
        return unit

    def power(self, left: Node, right: Node) -> Unit:
        base, exponent = self.measure(left), self.measure(right)
        if exponent.unit != ONE:
            raise self.refuse(f"the exponent {text(right)} is in {exponent.unit}.", "Make it a pure number.")
        if exponent.literal is not None:
            return base.unit**exponent.literal
        return self.pure(base.unit, Apply("**", (left, right)))

    def pure(self, unit: Unit, node: Apply) -> Unit:
        if unit.money:
            raise self.refuse(
                f"{text(node)} takes a pure number and gets {unit}.",
                f"Divide by a weight in {unit}, or write number({text(node.arguments[0])}) to drop the unit.",
            )
        return ONE
