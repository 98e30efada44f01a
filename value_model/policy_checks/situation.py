"""The weightings under which a policy is judged: the global one and every surface's and segment's own."""

from __future__ import annotations

from collections.abc import Iterator

from value_model.formula.intervals import Interval, KnownIntervals
from value_model.formula.tree import Name, Node, names
from value_model.formula.value_policy import ValuePolicy


def weightings(policy: ValuePolicy) -> Iterator[tuple[str, dict[str, float]]]:
    """(label, weights) for the global weighting and for each that an override makes different."""
    yield "everywhere", policy.weights_for()
    surfaces = sorted({override.key for weight in policy.weights for override in weight.surface})
    segments = sorted({override.key for weight in policy.weights for override in weight.segment})
    for surface in surfaces:
        yield f"on {surface}", policy.weights_for(surface=surface)
    for segment in segments:
        yield f"for {segment}", policy.weights_for(segment=segment)


def ranges(policy: ValuePolicy, weights: dict[str, float] | None) -> KnownIntervals:
    """The interval of every name; weights at a value each, or None = anywhere in their bounds."""
    known: dict[Node, Interval] = {Name(q.name): Interval(q.low, q.high) for q in policy.quantity.values()}
    for weight in policy.weights:
        point = None if weights is None else weights[weight.name]
        known[Name(weight.name)] = Interval(weight.low, weight.high) if point is None else Interval(point, point)
    for expression in policy.expressions:
        known[Name(expression.name)] = KnownIntervals(known).interval_of(expression.tree)
    return KnownIntervals(known)


def inlined_names(policy: ValuePolicy, expression: str) -> set[str]:
    """Every weight, quantity and expression that an expression depends on, itself included."""
    reached, waiting = set(), [expression]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            if name in policy.expression:
                waiting.extend(names(policy.expression[name].tree))
    return reached
