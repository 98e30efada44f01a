"""The same preferences in another currency."""

from __future__ import annotations

from dataclasses import replace

from value_model.formula.constraint import BoundKind, Constraint
from value_model.formula.metrics import STANDARD
from value_model.formula.policy_error import refuse
from value_model.formula.quantities import Quantity
from value_model.formula.tree import functions
from value_model.formula.units import Unit, parse_unit
from value_model.formula.value_policy import Override, ValuePolicy, Weight


def in_currency(policy: ValuePolicy, currency: str, *, rate: float) -> ValuePolicy:
    """The policy in `currency`; `rate` = how many of it one of the present currency buys.

    A weight in money^p is multiplied by rate^p: clicks worth SAR 0.14 are worth SAR 0.14 in dollars, too.
    Raises PolicyError where a formula drops a unit by number(): its weights cannot be converted by rule.
    """
    for expression in policy.expressions:
        if "number" in functions(expression.tree):
            reason = f"{expression.name} uses number(), so that its weights do not scale with a currency."
            raise refuse("units", expression.where, reason, "Write the policy anew in the other currency.")
    units, old = policy.units(), policy.currency

    def factor(unit: Unit) -> float:
        return rate ** unit.exponent(old)

    result = parse_unit(policy.unit, currency=old, where=policy.where)
    return replace(
        policy,
        currency=currency,
        unit=_renamed(policy.unit, old, currency),
        weights=tuple(_weight(w, factor(units[w.name]), old, currency) for w in policy.weights),
        quantities=tuple(_quantity(q, factor(units[q.name]), old, currency) for q in policy.quantities),
        slate=None if policy.slate is None else policy.slate.scaled(factor(result)),
        constraints=tuple(_constraint(c, rate) for c in policy.constraints),
    )


def _renamed(unit: str, old: str, new: str) -> str:
    return " ".join(new if token == old else token for token in unit.replace("/", " / ").replace("^", " ^ ").split())


def _weight(weight: Weight, factor: float, old: str, new: str) -> Weight:
    def times(overrides: tuple[Override, ...]) -> tuple[Override, ...]:
        return tuple(replace(o, value=o.value * factor) for o in overrides)

    return replace(
        weight,
        unit=_renamed(weight.unit, old, new),
        value=weight.value * factor,
        low=weight.low * factor,
        high=weight.high * factor,
        neutral=weight.neutral * factor,
        surface=times(weight.surface),
        segment=times(weight.segment),
    )


def _quantity(quantity: Quantity, factor: float, old: str, new: str) -> Quantity:
    unit = _renamed(quantity.unit, old, new)
    return replace(quantity, unit=unit, low=quantity.low * factor, high=quantity.high * factor)


def _constraint(constraint: Constraint, rate: float) -> Constraint:
    """Levels and changes of money are in the currency."""
    money = any(metric.money for metric in STANDARD if metric.name == constraint.metric)
    if not money or constraint.of is BoundKind.RELATIVE:
        return constraint
    return constraint.moved_to(constraint.bound * rate)
