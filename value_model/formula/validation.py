"""What must hold before a policy can be used at all: names, order, bounds, signs and units."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator

from marketplace.finding import Finding, Where
from value_model.formula.metrics import NAMES, closest
from value_model.formula.policy_error import PolicyError
from value_model.formula.quantities import Quantity, Sign
from value_model.formula.tree import CALLABLE, functions, names
from value_model.formula.unit_rules import unit_of
from value_model.formula.units import Unit, parse_unit
from value_model.formula.value_policy import ValuePolicy, Weight

MOST_GUESSED = 20  # unknown names for which those near are looked up
MOST_OVERRIDDEN = 1000  # surfaces and segments: the checks judge the policy once for each
LONGEST_WRITTEN_OUT = 10_000  # names and functions


def problems(policy: ValuePolicy) -> list[Finding]:
    """Every reason to refuse the policy, in file order; units are looked at once all names are known."""
    findings = [*_names(policy), *_bounds(policy), *_sizes(policy), *_constraints(policy)]
    return findings or list(_units(policy))


def _names(policy: ValuePolicy) -> Iterator[Finding]:
    if policy.result not in policy.expression:
        reason = f"the result {policy.result!r} is not among the expressions {list(policy.expression)}."
        yield Finding("names", policy.where, reason, f'Add [expressions] {policy.result} = "...".')
    yield from _clashes(policy)
    known = set(policy.weight) | (set(policy.quantity) - set(policy.expression))
    unknown = 0
    for expression in policy.expressions:
        for name in dict.fromkeys(names(expression.tree)):
            if name not in known:
                unknown += 1
                yield _unknown(name, expression.where, known if unknown <= MOST_GUESSED else (), policy)
        known.add(expression.name)
    used = {name for expression in policy.expressions for name in names(expression.tree)}
    for weight in policy.weights:
        if weight.name not in used:
            yield Finding("names", weight.where, f"no formula uses {weight.name}.", "Use it or remove it.")


def _clashes(policy: ValuePolicy) -> Iterator[Finding]:
    declared = [(e.name, e.where) for e in policy.expressions] + [(w.name, w.where) for w in policy.weights]
    declared += [(q.name, q.where) for q in policy.quantities]
    taken = set(CALLABLE)
    for name, where in declared:
        if name in taken:
            yield Finding("names", where, f"the name {name} is taken.", "Choose another name.")
        taken.add(name)
    for weight in policy.weights:
        if weight.name in policy.quantity:
            yield Finding("names", weight.where, f"{weight.name} is a quantity, not a weight.", "Call it w_...")


def _unknown(name: str, where: Where, known: Collection[str], policy: ValuePolicy) -> Finding:
    if name in policy.expression:
        return Finding("names", where, f"{name} is used before it is defined.", f"Move {name} above this line.")
    close = difflib.get_close_matches(name, sorted(known), n=2)
    fix = f"Did you mean {' or '.join(close)}?" if close else f"Declare [weights.{name}] or [quantities.{name}]."
    return Finding("names", where, f"unknown name {name}.", fix)


def _bounds(policy: ValuePolicy) -> Iterator[Finding]:
    if policy.prior <= 0:
        yield Finding("bounds", policy.where, f"prior is {policy.prior:g}.", "Write a number above 0.")
    for weight in policy.weights:
        yield from _weight_bounds(weight)
    for quantity in policy.quantities:
        yield from _quantity_bounds(quantity)


def _weight_bounds(weight: Weight) -> Iterator[Finding]:
    if weight.low > weight.high:
        reason = f"{weight.name}: low {weight.low:g} is above high {weight.high:g}."
        yield Finding("bounds", weight.where, reason, "Exchange them.")
        return
    values = [("value", weight.value)]
    values += [(f"override {o.key}", o.value) for o in (*weight.surface, *weight.segment)]
    for label, value in values:
        if not weight.low <= value <= weight.high:
            reason = f"{weight.name}: {label} {value:g} lies outside [{weight.low:g}, {weight.high:g}]."
            yield Finding("bounds", weight.where, reason, "Change it, or argue for wider bounds in `reason`.")
    for override in (*weight.surface, *weight.segment):
        if override.evidence is not None and override.evidence < 0:
            reason = f"{weight.name}: evidence of {override.key} is {override.evidence:g}."
            yield Finding("bounds", weight.where, reason, "Count requests: 0 or more.")
    wrong = weight.low < 0 if weight.sign is Sign.PLUS else weight.high > 0
    if weight.sign is not Sign.ANY and wrong:
        reason = f"{weight.name}: the bounds [{weight.low:g}, {weight.high:g}] allow the sign against {weight.sign}."
        yield Finding("sign", weight.where, reason, "Move the bound to 0, or declare the other sign.")


def _quantity_bounds(quantity: Quantity) -> Iterator[Finding]:
    if quantity.low >= quantity.high:
        reason = f"{quantity.name}: low {quantity.low:g} is not below high {quantity.high:g}."
        yield Finding("bounds", quantity.where, reason, "Give the plausible range.")
    elif quantity.missing is not None and not quantity.low <= quantity.missing <= quantity.high:
        reason = f"{quantity.name}: missing {quantity.missing:g} lies outside [{quantity.low:g}, {quantity.high:g}]."
        yield Finding("bounds", quantity.where, reason, "Let it stand for a plausible value, or widen the range.")


def _sizes(policy: ValuePolicy) -> Iterator[Finding]:
    """Policies that are too large to be checked and explained: each expression counts what it uses, written out."""
    overridden: set[tuple[str, str]] = set()
    for weight in policy.weights:
        overridden |= {("surface", o.key) for o in weight.surface} | {("segment", o.key) for o in weight.segment}
        if len(overridden) > MOST_OVERRIDDEN:
            reason = f"{weight.name}: there are overrides for {len(overridden):,} surfaces and segments."
            yield Finding("size", weight.where, reason, f"{MOST_OVERRIDDEN:,} is the limit: group some of them.")
            break
    written_out: dict[str, int] = {}
    for expression in policy.expressions:
        parts = [*names(expression.tree), *functions(expression.tree)]
        written_out[expression.name] = size = sum(written_out.get(part, 1) for part in parts)
        if size > LONGEST_WRITTEN_OUT:
            reason = f"{expression.name} has {size:,} parts with the expressions in it written out."
            yield Finding("size", expression.where, reason, f"{LONGEST_WRITTEN_OUT:,} is the limit: use fewer.")
            break


def _constraints(policy: ValuePolicy) -> Iterator[Finding]:
    seen: set[str] = set()
    for constraint in policy.constraints:
        if constraint.metric not in NAMES:
            reason = f"there is no metric {constraint.metric!r} to constrain."
            yield Finding("constraints", constraint.where, reason, closest(constraint.metric))
        if constraint.subject in seen:
            yield Finding("constraints", constraint.where, f"{constraint.subject}: bounded twice.", "Keep one of them.")
        seen.add(constraint.subject)


def _units(policy: ValuePolicy) -> Iterator[Finding]:
    try:
        units: dict[str, Unit] = policy.units()
        promised = parse_unit(policy.unit, currency=policy.currency, where=policy.where)
    except PolicyError as error:
        yield from error.findings
        return
    for expression in policy.expressions:
        try:
            units[expression.name] = unit_of(expression.tree, units, where=expression.where)
        except PolicyError as error:
            yield from error.findings
            return
    result = units[policy.result]
    if result != promised:
        reason = f"{policy.result} is in {result}, and the policy says {promised}."
        fix = f'Write unit = "{result}", or mend the weights\' units.'
        yield Finding("units", policy.expression[policy.result].where, reason, fix)
