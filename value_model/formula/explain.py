"""Why an item has its value: one contribution a term.

A sum is explained by its terms: adding them from the first to the last gives the value to the last bit. Any other
formula is explained by its weights: Shapley values over switching each weight from `neutral` to its value (Shapley
1953; exact up to 12 weights, scaled ablations above), which sum to value - baseline up to rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import factorial

import numpy as np

from value_model.formula.evaluate import Columns, Weights, evaluate_all, evaluate_trees
from value_model.formula.tree import Apply, Name, Node, names, terms, text
from value_model.formula.value_policy import ValuePolicy

MOST_EXACT = 12  # weights: 4096 evaluations


class Method(StrEnum):
    """How the contributions were found."""

    ADDITIVE = "additive"
    SHAPLEY = "shapley"
    ABLATION = "ablation"


@dataclass(frozen=True)
class Explanation:
    """Contributions float64 [T, ..., n] of T labelled terms, baseline and value [..., n], in the policy's unit."""

    labels: tuple[str, ...]
    contributions: np.ndarray
    baseline: np.ndarray
    value: np.ndarray
    method: Method


def explain(
    policy: ValuePolicy,
    columns: Columns,
    *,
    weights: Weights | None = None,
    mask: np.ndarray | None = None,
    expression: str | None = None,
) -> Explanation:
    """The contributions to the ranking value, or to another named `expression` such as merchant_value.

    Weights are numbers, or arrays that broadcast to the items.
    """
    applied = policy.weights_for() if weights is None else weights
    name = expression or policy.result
    tree = _followed(policy, name)
    if isinstance(tree, Apply) and tree.function == "+":
        return _additive(policy, tree, columns, applied, mask)
    players = _players(policy, name)
    if len(players) <= MOST_EXACT:
        return _shapley(policy, name, players, columns, applied, mask)
    return _ablation(policy, name, players, columns, applied, mask)


def term_labels(policy: ValuePolicy, tree: Node) -> tuple[str, ...]:
    """A short unique label a term: the one thing that it speaks of, or its text."""
    subjects = [_subject(policy, term) for term in terms(tree)]
    return tuple(
        text(term) if subject is None or subjects.count(subject) > 1 else subject
        for term, subject in zip(terms(tree), subjects, strict=True)
    )


def _subject(policy: ValuePolicy, term: Node) -> str | None:
    subjects = list(dict.fromkeys(name for name in names(term) if name not in policy.weight))
    if subjects:
        return subjects[0] if len(subjects) == 1 else None
    return next(iter(names(term)), None)


def _followed(policy: ValuePolicy, name: str) -> Node:
    """The tree of an expression, looking through plain aliases."""
    tree = policy.expression[name].tree
    while isinstance(tree, Name) and tree.id in policy.expression:
        tree = policy.expression[tree.id].tree
    return tree


def _additive(
    policy: ValuePolicy, tree: Apply, columns: Columns, weights: Weights, mask: np.ndarray | None
) -> Explanation:
    named = len(policy.expressions)
    parts = evaluate_trees(policy, terms(tree), columns, weights=weights, mask=mask)[named:]
    contributions = np.stack(np.broadcast_arrays(*parts))
    value = contributions[0]
    for contribution in contributions[1:]:
        value = value + contribution
    return Explanation(term_labels(policy, tree), contributions, np.zeros(value.shape), value, Method.ADDITIVE)


def _players(policy: ValuePolicy, expression: str) -> tuple[str, ...]:
    """The weights that the expression depends on and that can be switched off."""
    used: set[str] = set()
    waiting = [expression]
    while waiting:
        name = waiting.pop()
        if name in policy.expression:
            waiting.extend(names(policy.expression[name].tree))
        elif name in policy.weight:
            used.add(name)
    return tuple(weight.name for weight in policy.weights if weight.name in used and weight.term)


def switched(
    policy: ValuePolicy, weights: Weights, on: Mapping[str, np.ndarray], *, ndim: int
) -> dict[str, np.ndarray]:
    """`weights` with those of `on` at their value where on (bool [C]) and neutral elsewhere: arrays [C, 1, ...]."""
    mixed = {name: np.asarray(weight, np.float64) for name, weight in weights.items()}
    for name, chosen in on.items():
        lifted = chosen.reshape(-1, *(1,) * ndim)
        mixed[name] = np.where(lifted, mixed[name], policy.weight[name].neutral)
    return mixed


def _coalition_values(
    policy: ValuePolicy,
    name: str,
    on: Mapping[str, np.ndarray],
    columns: Columns,
    weights: Weights,
    mask: np.ndarray | None,
) -> np.ndarray:
    ndim = max((np.ndim(columns[column]) for column in policy.inputs), default=0)
    mixed = switched(policy, weights, on, ndim=ndim)
    values = evaluate_all(policy, columns, weights=mixed, mask=mask)[name]
    coalitions = len(next(iter(on.values()))) if on else 1
    items = values.shape[values.ndim - ndim :]
    return np.broadcast_to(values, (coalitions, *items))


def _shapley(
    policy: ValuePolicy,
    name: str,
    players: tuple[str, ...],
    columns: Columns,
    weights: Weights,
    mask: np.ndarray | None,
) -> Explanation:
    """sum over coalitions S without i of |S|! (m - |S| - 1)! / m! * (v(S + i) - v(S))."""
    m = len(players)
    coalitions = np.arange(2**m)
    on = {player: (coalitions >> i & 1).astype(bool) for i, player in enumerate(players)}
    values = _coalition_values(policy, name, on, columns, weights, mask)
    size = np.array([bin(c).count("1") for c in coalitions])
    shares = []
    for i in range(m):
        without = coalitions[~on[players[i]]]
        factor = np.array([factorial(s) * factorial(m - s - 1) / factorial(m) for s in size[without]])
        shares.append(np.tensordot(factor, values[without | 1 << i] - values[without], axes=1))
    return _by_weight(players, shares, values[0], values[-1], Method.SHAPLEY)


def _ablation(
    policy: ValuePolicy,
    name: str,
    players: tuple[str, ...],
    columns: Columns,
    weights: Weights,
    mask: np.ndarray | None,
) -> Explanation:
    """value - value without the weight, scaled so that the shares sum to value - baseline."""
    m = len(players)
    states = np.vstack([np.ones(m, bool), np.zeros(m, bool), ~np.eye(m, dtype=bool)])
    on = {player: states[:, i] for i, player in enumerate(players)}
    values = _coalition_values(policy, name, on, columns, weights, mask)
    drops = values[0] - values[2:]
    total = drops.sum(axis=0)
    gap = values[0] - values[1]
    shares = np.where(total == 0, gap / m, drops * np.divide(gap, total, out=np.ones_like(gap), where=total != 0))
    return _by_weight(players, list(shares), values[1], values[0], Method.ABLATION)


def _by_weight(
    players: tuple[str, ...],
    shares: list[np.ndarray],
    baseline: np.ndarray,
    value: np.ndarray,
    method: Method,
) -> Explanation:
    contributions = np.stack(shares) if shares else np.zeros((0, *value.shape))
    return Explanation(players, contributions, np.array(baseline), np.array(value), method)
