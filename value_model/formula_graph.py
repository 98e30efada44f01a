"""The value formula as a TensorFlow graph, the twin of `value_model.formula.evaluate` in float64.

Called while a graph is traced, it adds the formula's operations to it; weights are tensors, so that an export can
bake them in (constants) or take them as inputs. Only this module of the formula imports TensorFlow. Slate functions
compare every pair of a slate's items: n^2 memory, meant for n of hundreds. The graph converts to ONNX, whose runtime
rounds some functions to about 1e-7.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from features.keras2 import tensorflow as tf
from value_model.formula.lowering import lower
from value_model.formula.value_policy import ValuePolicy

Tensor = Any  # a tf.Tensor: TensorFlow ships no types


def graph_values(
    policy: ValuePolicy,
    columns: Mapping[str, Tensor],
    *,
    weights: Mapping[str, Tensor] | Mapping[str, float] | None = None,
    mask: Tensor | None = None,
) -> dict[str, Tensor]:
    """Every named expression as float64 [..., n], from columns that broadcast to [..., n].

    Raises KeyError with the names of the columns that the formulas need and `columns` lacks.
    """
    missing = [name for name in policy.inputs if name not in columns]
    if missing:
        raise KeyError(f"policy {policy.name!r} needs the columns {missing}; given are {sorted(columns)}.")
    known = {name: _double(columns[name]) for name in policy.inputs}
    for name, stand_in in policy.stand_ins.items():
        known[name] = tf.where(tf.math.is_nan(known[name]), _double(stand_in), known[name])
    items = functools.reduce(tf.add, [tf.zeros_like(column) for column in known.values()], _double(0.0))
    operations = tensorflow_operations(items, mask)
    applied = policy.weights_for() if weights is None else weights
    known |= {name: _double(applied[name]) for name in policy.weight}
    result = {}
    for expression in policy.expressions:
        known[expression.name] = lower(expression.tree, known, operations=operations, constant=_double)
        result[expression.name] = tf.identity(known[expression.name] + items, name=expression.name)
    return result


def graph_value(
    policy: ValuePolicy,
    columns: Mapping[str, Tensor],
    *,
    weights: Mapping[str, Tensor] | Mapping[str, float] | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """The ranking value of every item, float64 [..., n]."""
    return graph_values(policy, columns, weights=weights, mask=mask)[policy.result]


def tensorflow_operations(items: Tensor, mask: Tensor | None = None) -> Mapping[str, Callable[..., Tensor]]:
    """Every function of the grammar; `items` are zeros of the items' shape, `mask` marks the slots in use."""
    return {**_ITEMWISE, **_SlateTensors(items, mask).table()}


def _double(x: Tensor) -> Tensor:
    # A Python float must not pass through float32, which is what a bare conversion makes of it.
    return tf.cast(x, tf.float64) if tf.is_tensor(x) else tf.convert_to_tensor(x, tf.float64)


def _truth(test: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda a, b: tf.cast(test(a, b), tf.float64)


def _logical(test: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda *arguments: tf.cast(test(*(tf.not_equal(a, 0.0) for a in arguments)), tf.float64)


def _fold(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda *arguments: functools.reduce(function, arguments)


def _log1p(x: Tensor) -> Tensor:
    """log(1 + x) from log alone (Kahan), because ONNX has no log1p: x log(u) / (u - 1) with u = 1 + x as rounded."""
    u = 1.0 + x
    rounded = tf.where(tf.equal(u, 1.0), tf.ones_like(u), u - 1.0)
    exact = tf.equal(u, 1.0) | tf.math.is_inf(u)
    return tf.where(exact, x, x * tf.math.log(u) / rounded)


_ITEMWISE: dict[str, Callable[..., Tensor]] = {
    "+": _fold(tf.add),
    "*": tf.multiply,
    "/": tf.divide,
    "**": tf.pow,
    "neg": tf.negative,
    "<": _truth(tf.less),
    "<=": _truth(tf.less_equal),
    ">": _truth(tf.greater),
    ">=": _truth(tf.greater_equal),
    "==": _truth(tf.equal),
    "!=": _truth(tf.not_equal),
    "and": _logical(tf.logical_and),
    "or": _logical(tf.logical_or),
    "not": _logical(tf.logical_not),
    "where": lambda condition, yes, no: tf.where(tf.not_equal(condition, 0.0), yes, no),
    "abs": tf.abs,
    "clip": lambda x, low, high: tf.minimum(tf.maximum(x, low), high),
    "exp": tf.exp,
    "log": tf.math.log,
    "log1p": _log1p,
    "max": _fold(tf.maximum),
    "min": _fold(tf.minimum),
    "number": tf.identity,
    "sigmoid": tf.sigmoid,
    "sqrt": tf.sqrt,
}


class _SlateTensors:
    """Functions that look along the slate."""

    def __init__(self, items: Tensor, mask: Tensor | None) -> None:
        self.items = items
        self.present = tf.ones_like(items, tf.bool) if mask is None else tf.broadcast_to(mask, tf.shape(items))

    def table(self) -> Mapping[str, Callable[..., Tensor]]:
        return {
            "slate_mean": self.mean,
            "slate_std": lambda x: tf.sqrt(self.mean(tf.square(self.fill(x, 0.0) - self.mean(x)))),
            "slate_min": lambda x: tf.reduce_min(self.fill(x, float("inf")), axis=-1, keepdims=True),
            "slate_max": lambda x: tf.reduce_max(self.fill(x, float("-inf")), axis=-1, keepdims=True),
            "slate_sum": lambda x: tf.reduce_sum(self.fill(x, 0.0), axis=-1, keepdims=True),
            "slate_rank": self.rank,
            "slate_minmax": self.minmax,
            "slate_nth": self.nth,
        }

    def fill(self, x: Tensor, absent: float) -> Tensor:
        return tf.where(self.present, x + self.items, _double(absent))

    def mean(self, x: Tensor) -> Tensor:
        count = tf.reduce_sum(tf.cast(self.present, tf.float64), axis=-1, keepdims=True)
        return tf.reduce_sum(self.fill(x, 0.0), axis=-1, keepdims=True) / tf.maximum(count, _double(1.0))

    def minmax(self, x: Tensor) -> Tensor:
        table = self.table()
        low, high = table["slate_min"](x), table["slate_max"](x)
        spread = tf.where(high > low, high - low, tf.ones_like(high))
        return tf.where(high > low, (x - low) / spread, tf.zeros_like(x + self.items))

    def rank(self, x: Tensor) -> Tensor:
        x = self.fill(x, float("-inf"))
        above = tf.expand_dims(x, -2) > tf.expand_dims(x, -1)
        return 1.0 + tf.reduce_sum(tf.cast(above, tf.float64), axis=-1)

    def nth(self, x: Tensor, group: Tensor) -> Tensor:
        x, group = self.fill(x, float("-inf")), self.fill(group, -1.0)
        mine, other = tf.expand_dims(x, -1), tf.expand_dims(x, -2)
        place = tf.range(tf.shape(x)[-1])
        before = (other > mine) | (tf.equal(other, mine) & (tf.expand_dims(place, 0) < tf.expand_dims(place, 1)))
        alike = tf.equal(tf.expand_dims(group, -2), tf.expand_dims(group, -1))
        return tf.reduce_sum(tf.cast(before & alike, tf.float64), axis=-1)
