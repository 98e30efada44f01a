"""A formula that is linear in something, itself or its logarithm: sum over j of c_j(weights) f_j(columns).

The features f_j are computed once and W weightings cost one matrix product. Sums, products with weights, and named
sums within them are linear; products of powers, such as ctr^a cvr^b price^c, are in their logarithm, which ranks alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from value_model.formula.evaluate import Columns, evaluate_trees
from value_model.formula.lowering import lower
from value_model.formula.numpy_operations import ITEMWISE
from value_model.formula.tree import SLATE_FUNCTIONS, Apply, Name, Node, Number, functions, names
from value_model.formula.value_policy import ValuePolicy

MOST = 256  # terms after multiplying out

_Term = tuple[Node, Node]  # coefficient of weights alone, feature of quantities alone
_ONE = Number(1.0)


@dataclass(frozen=True)
class LinearForm:
    """J pairs of a coefficient (weights alone) and a feature (quantities alone); `logarithm`: they give log(value)."""

    policy: ValuePolicy
    coefficients: tuple[Node, ...]
    features: tuple[Node, ...]
    logarithm: bool = False

    def at(self, weights: Mapping[str, np.ndarray]) -> np.ndarray:
        """float64 [W, J]: the coefficients under weights [W] each (numbers broadcast)."""
        known = {name: np.asarray(weight, np.float64) for name, weight in weights.items()}
        with np.errstate(all="ignore"):
            columns = [lower(c, known, operations=ITEMWISE, constant=np.float64) for c in self.coefficients]
        return np.stack(np.broadcast_arrays(*columns, np.empty(1))[:-1], axis=-1)

    def of(self, columns: Columns, *, mask: np.ndarray | None = None) -> np.ndarray:
        """float64 [J, ..., n]: the features of the items."""
        results = evaluate_trees(self.policy, self.features, columns, mask=mask)
        return np.stack(results[len(self.policy.expressions) :])


def linear_form(policy: ValuePolicy) -> LinearForm | None:
    """The ranking value, or its logarithm, multiplied out; None where neither is linear."""
    value = policy.expression[policy.result].tree
    for logarithm, expanded in ((False, _expanded), (True, _logarithm)):
        terms = expanded(policy, value)
        if terms is not None and len(terms) <= MOST:
            return LinearForm(policy, tuple(c for c, _ in terms), tuple(f for _, f in terms), logarithm)
    return None


def _expanded(policy: ValuePolicy, node: Node) -> list[_Term] | None:
    inner = _inlined(policy, node)
    weights = set(policy.weight)
    if not weights & set(names(inner)):
        return [(_ONE, inner)]
    if set(names(inner)) <= weights and not set(functions(inner)) & set(SLATE_FUNCTIONS):
        return [(inner, _ONE)]
    match inner:
        case Apply("+", arguments):
            parts = [_expanded(policy, argument) for argument in arguments]
            return None if None in parts else [term for part in parts if part is not None for term in part]
        case Apply("neg", (argument,)):
            negated = _expanded(policy, argument)
            return negated and [(Apply("neg", (c,)), f) for c, f in negated]
        case Apply("*" | "/" as function, (left, right)):
            return _combined(function, _expanded(policy, left), _expanded(policy, right))
    return None


def _logarithm(policy: ValuePolicy, node: Node) -> list[_Term] | None:
    """log(node), expanded: where factors are 0 or negative it does not exist, and its numbers are not finite."""
    inner = _inlined(policy, node)
    weights, used = set(policy.weight), set(names(inner))
    if not weights & used:
        return [(_ONE, Apply("log", (inner,)))]
    if used <= weights and not set(functions(inner)) & set(SLATE_FUNCTIONS):
        return [(Apply("log", (inner,)), _ONE)]
    match inner:
        case Apply("*" | "/" as function, (left, right)):
            parts = _logarithm(policy, left), _logarithm(policy, right)
            if parts[0] is None or parts[1] is None:
                return None
            below = [(Apply("neg", (c,)), f) for c, f in parts[1]]
            return parts[0] + (below if function == "/" else parts[1])
        case Apply("**", (base, exponent)) if set(names(exponent)) <= weights:
            raised = _logarithm(policy, base)
            return raised and [(Apply("*", (exponent, c)), f) for c, f in raised]
        case Apply("number", (argument,)):
            return _logarithm(policy, argument)
    return None


def _combined(function: str, left: list[_Term] | None, right: list[_Term] | None) -> list[_Term] | None:
    if left is None or right is None or len(left) * len(right) > MOST or (function == "/" and len(right) > 1):
        return None
    return [(Apply(function, (a, c)), Apply(function, (b, d))) for a, b in left for c, d in right]


def _inlined(policy: ValuePolicy, node: Node) -> Node:
    """The node with its own name, if it is an expression's, replaced by that expression."""
    while isinstance(node, Name) and node.id in policy.expression:
        node = policy.expression[node.id].tree
    if isinstance(node, Apply):
        return Apply(node.function, tuple(_inlined(policy, argument) for argument in node.arguments))
    return node
