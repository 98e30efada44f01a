"""The value of items under a policy, in NumPy.

Columns are float64 and broadcast; items lie along the last axis: [n] for one request, [R, n] for many. A weight is a
number, or an array that broadcasts against the columns: [R, 1] for one weighting a request, [W, 1, 1] for W
weightings of every request, which gives values [W, R, n].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from marketplace.slate_columns import pad, slate_mask
from value_model.formula.lowering import lower
from value_model.formula.numpy_operations import ITEMWISE, numpy_operations
from value_model.formula.tree import Node
from value_model.formula.value_policy import ValuePolicy

Columns = Mapping[str, np.ndarray]
Weights = Mapping[str, float] | Mapping[str, np.ndarray]


def evaluate_all(
    policy: ValuePolicy, columns: Columns, *, weights: Weights | None = None, mask: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Every named expression, float64, each broadcast to the items; `weights` default to the global ones.

    Raises KeyError with the names of the columns that the formulas need and `columns` lacks.
    """
    results = evaluate_trees(policy, (), columns, weights=weights, mask=mask)
    return dict(zip(policy.expression, results, strict=True))


def evaluate_trees(
    policy: ValuePolicy,
    trees: Sequence[Node],
    columns: Columns,
    *,
    weights: Weights | None = None,
    mask: np.ndarray | None = None,
) -> list[np.ndarray]:
    """The named expressions, then further `trees` over them, as by `evaluate_all`."""
    known = {name: np.asarray(columns[name], np.float64) for name in _required(policy, columns)}
    for name, stand_in in policy.stand_ins.items():
        known[name] = np.where(np.isnan(known[name]), stand_in, known[name])
    shape = _shape([column.shape for column in known.values()])
    known |= _weights(policy, weights)
    operations = numpy_operations(shape, mask) if policy.slate_relative else ITEMWISE
    results = []
    with np.errstate(all="ignore"):
        for expression in policy.expressions:
            known[expression.name] = lower(expression.tree, known, operations=operations, constant=np.float64)
            results.append(known[expression.name])
        results += [lower(tree, known, operations=operations, constant=np.float64) for tree in trees]
    return [_spread(value, shape) for value in results]


def _spread(value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    extent = np.shape(value)
    return value if extent == shape else np.broadcast_to(value, np.broadcast_shapes(extent, shape))


def _required(policy: ValuePolicy, columns: Columns) -> tuple[str, ...]:
    missing = [name for name in policy.inputs if name not in columns]
    if missing:
        raise KeyError(f"policy {policy.name!r} needs the columns {missing}; given are {sorted(columns)}.")
    return policy.inputs


def _shape(shapes: list[tuple[int, ...]]) -> tuple[int, ...]:
    return shapes[0] if shapes and len(set(shapes)) == 1 else np.broadcast_shapes(*shapes)


def evaluate(
    policy: ValuePolicy, columns: Columns, *, weights: Weights | None = None, mask: np.ndarray | None = None
) -> np.ndarray:
    """The ranking value of every item: the policy's result expression."""
    return evaluate_all(policy, columns, weights=weights, mask=mask)[policy.result]


def evaluate_rows(
    policy: ValuePolicy, columns: Columns, offsets: np.ndarray, *, weights: Weights | None = None
) -> np.ndarray:
    """Values [N] of flat rows; request r owns rows offsets[r]:offsets[r+1], and weights may be arrays [R]."""
    per_request = {name: np.asarray(weight) for name, weight in (weights or policy.weights_for()).items()}
    if not policy.slate_relative:
        counts = np.diff(offsets)
        rows = {name: np.repeat(w, counts) if w.ndim else w for name, w in per_request.items()}
        return evaluate(policy, columns, weights=rows)
    mask = slate_mask(offsets)
    padded = {name: pad(np.asarray(columns[name], np.float64), mask) for name in policy.inputs}
    lifted = {name: w[:, None] if w.ndim else w for name, w in per_request.items()}
    return evaluate(policy, padded, weights=lifted, mask=mask)[mask]


def _weights(policy: ValuePolicy, weights: Weights | None) -> dict[str, np.ndarray]:
    applied = policy.weights_for() if weights is None else weights
    missing = [name for name in policy.weight if name not in applied]
    if missing:
        raise KeyError(f"policy {policy.name!r} needs the weights {missing}; given are {sorted(applied)}.")
    return {name: np.asarray(applied[name], np.float64) for name in policy.weight}
