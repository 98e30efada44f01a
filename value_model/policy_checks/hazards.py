"""Hazards that the tree alone shows: overflow and undefined parts, and factors on values that may be negative."""

from __future__ import annotations

import math
from collections.abc import Iterator

from marketplace.finding import Finding, Severity
from value_model.formula.intervals import Interval, KnownIntervals
from value_model.formula.policy_error import PolicyError
from value_model.formula.tree import SLATE_FUNCTIONS, Apply, Name, Node, text
from value_model.formula.unit_rules import unit_of
from value_model.formula.units import Unit
from value_model.formula.value_policy import Expression, ValuePolicy
from value_model.policy_checks.situation import inlined_names, ranges, weightings


def hazards(policy: ValuePolicy) -> Iterator[Finding]:
    """Findings of every expression that the result uses; each part is reported once."""
    seen: set[tuple[str, str]] = set()
    cases = [(label, weights, Severity.ERROR) for label, weights in weightings(policy)]
    for label, weights, severity in [*cases, ("at some weights within their bounds", None, Severity.WARNING)]:
        known = ranges(policy, weights)
        for finding, part in _in_expressions(policy, known, label, severity):
            if (finding.rule, part) not in seen:
                seen.add((finding.rule, part))
                yield finding


def _in_expressions(
    policy: ValuePolicy, known: KnownIntervals, label: str, severity: Severity
) -> Iterator[tuple[Finding, str]]:
    used = inlined_names(policy, policy.result)
    for expression in policy.expressions:
        if expression.name in used:
            visit = _Visit(policy, expression, label, severity)
            yield from visit.node(expression.tree, known)


class _Visit:
    """One walk over one expression under one weighting."""

    def __init__(self, policy: ValuePolicy, expression: Expression, label: str, severity: Severity) -> None:
        self.policy, self.expression, self.label, self.severity = policy, expression, label, severity
        self.units = _units_above(policy, expression)

    def node(self, node: Node, known: KnownIntervals) -> Iterator[tuple[Finding, str]]:
        if not isinstance(node, Apply):
            return
        if node.function == "where":
            condition, yes, no = node.arguments
            yield from self.node(condition, known)
            yield from self.node(yes, known.narrowed(condition, holds=True))
            yield from self.node(no, known.narrowed(condition, holds=False))
            return
        for argument in node.arguments:
            yield from self.node(argument, known)
        yield from self.undefined(node, known)
        if node.function in ("*", "/"):
            yield from self.discount(node, known)

    def finding(self, rule: str, node: Node, reason: str, fix: str) -> tuple[Finding, str]:
        full = f"{text(node)} {reason} ({self.label})."
        return Finding(rule, self.expression.where, full, fix, self.severity), text(node)

    def undefined(self, node: Apply, known: KnownIntervals) -> Iterator[tuple[Finding, str]]:
        parts = [known.interval_of(argument) for argument in node.arguments]
        if any(part.undefined or math.isinf(part.low) or math.isinf(part.high) for part in parts):
            return  # named where it begins
        whole = known.interval_of(node)
        if whole.undefined:
            reason = f"is undefined for some inputs in range: its arguments lie in {_spans(parts)}"
            yield self.finding("undefined", node, reason, "Shift or clip the argument away from there.")
        elif math.isinf(whole.low) or math.isinf(whole.high):
            reason = f"overflows for some inputs in range: its arguments lie in {_spans(parts)}"
            yield self.finding("overflow", node, reason, "Clip the argument, or narrow the quantity's range.")

    def discount(self, node: Apply, known: KnownIntervals) -> Iterator[tuple[Finding, str]]:
        """An item's own pure factor on something that may be negative turns help into harm and harm into help."""
        left, right = node.arguments
        pairs = [(left, right)] if node.function == "/" else [(left, right), (right, left)]
        for base, factor in pairs:
            low, scale = known.interval_of(base).low, known.interval_of(factor)
            if low < 0 and scale.low >= 0 and scale.low < scale.high and self.is_adjustment(factor):
                reason = f"scales {text(base)}, which can be {low:.3g}: what lowers a good item lifts a bad one"
                fix = f"Apply it to the positive part only: ... if {text(base)} > 0 else {text(base)}."
                yield self.finding("discount", node, reason, fix)

    def is_adjustment(self, factor: Node) -> bool:
        """Whether the factor differs between items and is a pure number without a predicted head in it."""
        if not self.varies(factor) or any(self.policy.quantity[name].head for name in self.item_quantities(factor)):
            return False
        return unit_of(factor, self.units, where=self.expression.where) == Unit()

    def varies(self, node: Node) -> bool:
        """Whether the node differs between the items of one slate; slate_mean and its like do not."""
        match node:
            case Name(id):
                named = self.policy.expression.get(id)
                return id not in self.policy.weight and (named is None or self.varies(named.tree))
            case Apply(function, arguments):
                if function in ("slate_rank", "slate_minmax", "slate_nth"):
                    return True
                return function not in SLATE_FUNCTIONS and any(map(self.varies, arguments))
        return False

    def item_quantities(self, node: Node) -> set[str]:
        """Quantities of the item itself: not those that enter by their order or level in the slate."""
        match node:
            case Name(id):
                named = self.policy.expression.get(id)
                return self.item_quantities(named.tree) if named else {id} - set(self.policy.weight)
            case Apply(function, arguments) if function not in SLATE_FUNCTIONS:
                return set().union(*map(self.item_quantities, arguments))
        return set()


def _spans(parts: list[Interval]) -> str:
    return ", ".join(f"[{part.low:.3g}, {part.high:.3g}]" for part in parts)


def _units_above(policy: ValuePolicy, expression: Expression) -> dict[str, Unit]:
    units = policy.units()
    for other in policy.expressions:
        try:
            units[other.name] = unit_of(other.tree, units, where=other.where)
        except PolicyError:
            units[other.name] = Unit()
        if other is expression:
            break
    return units
