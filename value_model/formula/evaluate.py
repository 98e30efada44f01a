"""The value of items under a policy, in NumPy.

Columns are float64 and broadcast; items lie along the last axis: [n] for one request, [R, n] for many. A weight is a
number, or an array that broadcasts against the columns: [R, 1] for one weighting a request, [W, 1, 1] for W
weightings of every request, which gives values [W, R, n].
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from value_model.formula.lowering import lower
from value_model.formula.numpy_operations import numpy_operations
from value_model.formula.tree import SLATE_FUNCTIONS, functions
from value_model.formula.value_policy import ValuePolicy

Columns = Mapping[str, np.ndarray]
Weights = Mapping[str, float] | Mapping[str, np.ndarray]


def evaluate_all(
    policy: ValuePolicy, columns: Columns, *, weights: Weights | None = None, mask: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Every named expression, float64, each broadcast to the items; `weights` default to the global ones.

    Raises KeyError with the names of the columns that the formulas need and `columns` lacks.
    """
    missing = [name for name in policy.inputs if name not in columns]
    if missing:
        raise KeyError(f"policy {policy.name!r} needs the columns {missing}; given are {sorted(columns)}.")
    arrays = {name: np.asarray(columns[name], np.float64) for name in policy.inputs}
    shape = np.broadcast_shapes(*(array.shape for array in arrays.values()))
    operations = numpy_operations(shape, mask)
    known: dict[str, np.ndarray] = {**arrays, **_weights(policy, weights)}
    result = {}
    with np.errstate(all="ignore"):
        for expression in policy.expressions:
            known[expression.name] = lower(expression.tree, known, operations=operations, constant=np.float64)
            own = np.shape(known[expression.name])
            result[expression.name] = np.broadcast_to(known[expression.name], np.broadcast_shapes(own, shape))
    return result


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
    if not uses_slate(policy):
        counts = np.diff(offsets)
        rows = {name: np.repeat(w, counts) if w.ndim else w for name, w in per_request.items()}
        return evaluate(policy, columns, weights=rows)
    mask = slate_mask(offsets)
    padded = {name: pad(np.asarray(columns[name], np.float64), mask) for name in policy.inputs}
    lifted = {name: w[:, None] if w.ndim else w for name, w in per_request.items()}
    return evaluate(policy, padded, weights=lifted, mask=mask)[mask]


def uses_slate(policy: ValuePolicy) -> bool:
    """Whether an item's value depends on the other items of its slate."""
    return any(name in SLATE_FUNCTIONS for e in policy.expressions for name in functions(e.tree))


def slate_mask(offsets: np.ndarray) -> np.ndarray:
    """bool [R, longest]: where flat rows lie once they are padded."""
    counts = np.diff(offsets)
    return np.arange(counts.max(initial=0)) < counts[:, None]


def pad(rows: np.ndarray, mask: np.ndarray, *, absent: float = 0.0) -> np.ndarray:
    """Flat rows [N] as [R, longest]; `padded[mask]` gives them back."""
    padded = np.full(mask.shape, absent, rows.dtype)
    padded[mask] = rows
    return padded


def _weights(policy: ValuePolicy, weights: Weights | None) -> dict[str, np.ndarray]:
    given = policy.weights_for() if weights is None else weights
    missing = [name for name in policy.weight if name not in given]
    if missing:
        raise KeyError(f"policy {policy.name!r} needs the weights {missing}; given are {sorted(given)}.")
    return {name: np.asarray(given[name], np.float64) for name in policy.weight}
