"""The grammar's functions in NumPy, float64; arrays broadcast, items lie along the last axis.

`mask` bool [..., n] marks the slots that hold an item: slate functions leave the others out. Arithmetic is IEEE's:
1/0 is inf, log(-1) is NaN. Ranks count from 1 and ties share the better rank; slate_nth(x, group) is how many items
of the same group come before by x, the earlier slot first among equals. A condition is 1 or 0.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping

import numpy as np

Table = Mapping[str, Callable[..., np.ndarray]]


def _truth(test: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    return lambda *arguments: test(*arguments).astype(np.float64)


def _choose(condition: np.ndarray, yes: np.ndarray, no: np.ndarray) -> np.ndarray:
    return np.where(np.not_equal(condition, 0.0), yes, no)


ITEMWISE: dict[str, Callable[..., np.ndarray]] = {
    "+": lambda *terms: functools.reduce(operator.add, terms),
    "*": operator.mul,
    "/": np.divide,
    "**": np.power,
    "neg": operator.neg,
    "<": _truth(np.less),
    "<=": _truth(np.less_equal),
    ">": _truth(np.greater),
    ">=": _truth(np.greater_equal),
    "==": _truth(np.equal),
    "!=": _truth(np.not_equal),
    "and": _truth(np.logical_and),
    "or": _truth(np.logical_or),
    "not": _truth(np.logical_not),
    "where": _choose,
    "abs": np.abs,
    "clip": lambda x, low, high: np.minimum(np.maximum(x, low), high),
    "exp": np.exp,
    "log": np.log,
    "log1p": np.log1p,
    "max": lambda *xs: functools.reduce(np.maximum, xs),
    "min": lambda *xs: functools.reduce(np.minimum, xs),
    "number": np.asarray,
    "sigmoid": lambda x: 1.0 / (1.0 + np.exp(-x)),
    "sqrt": np.sqrt,
}


def numpy_operations(shape: tuple[int, ...], mask: np.ndarray | None = None) -> Table:
    """Every function of the grammar over items of `shape` [..., n]."""
    return {**ITEMWISE, **_SlateFunctions(shape, mask).table()}


class _SlateFunctions:
    """Functions that look along the slate."""

    def __init__(self, shape: tuple[int, ...], mask: np.ndarray | None) -> None:
        self.shape = shape
        self.mask = np.True_ if mask is None else mask

    def table(self) -> Table:
        return {
            "slate_mean": self.mean,
            "slate_std": self.std,
            "slate_min": lambda x: np.min(self.fill(x, np.inf), axis=-1, keepdims=True, initial=np.inf),
            "slate_max": lambda x: np.max(self.fill(x, -np.inf), axis=-1, keepdims=True, initial=-np.inf),
            "slate_sum": lambda x: self.fill(x, 0.0).sum(axis=-1, keepdims=True),
            "slate_rank": self.rank,
            "slate_minmax": self.minmax,
            "slate_nth": self.nth,
        }

    def fill(self, x: np.ndarray, absent: float) -> np.ndarray:
        x = np.asarray(x)
        x = np.broadcast_to(x, np.broadcast_shapes(x.shape, self.shape))
        return x if self.mask is np.True_ else np.where(self.mask, x, absent)

    def mean(self, x: np.ndarray) -> np.ndarray:
        x = self.fill(x, 0.0)
        count = x.shape[-1] if self.mask is np.True_ else np.sum(self.mask, axis=-1, keepdims=True)
        return x.sum(axis=-1, keepdims=True) / np.maximum(count, 1)

    def std(self, x: np.ndarray) -> np.ndarray:
        return np.sqrt(self.mean((x - self.mean(x)) ** 2))

    def minmax(self, x: np.ndarray) -> np.ndarray:
        """(x - min) / (max - min); 0 where all are equal."""
        table = self.table()
        low, high = table["slate_min"](x), table["slate_max"](x)
        return np.where(high > low, (x - low) / np.where(high > low, high - low, 1.0), 0.0)

    def rank(self, x: np.ndarray) -> np.ndarray:
        falling = -self.fill(x, -np.inf)
        order = np.argsort(falling, axis=-1, kind="stable")
        ordered = np.take_along_axis(falling, order, axis=-1)
        place = np.broadcast_to(np.arange(1.0, falling.shape[-1] + 1), falling.shape)
        opens = np.ones(falling.shape, bool)
        opens[..., 1:] = ordered[..., 1:] != ordered[..., :-1]
        return _scatter(np.maximum.accumulate(np.where(opens, place, 0.0), axis=-1), order)

    def nth(self, x: np.ndarray, group: np.ndarray) -> np.ndarray:
        falling = -self.fill(x, -np.inf)
        group = np.broadcast_to(self.fill(group, -1.0), falling.shape)
        by_value = np.argsort(falling, axis=-1, kind="stable")
        by_group = np.argsort(np.take_along_axis(group, by_value, axis=-1), axis=-1, kind="stable")
        order = np.take_along_axis(by_value, by_group, axis=-1)
        ordered = np.take_along_axis(group, order, axis=-1)
        place = np.broadcast_to(np.arange(float(group.shape[-1])), group.shape)
        opens = np.ones(group.shape, bool)
        opens[..., 1:] = ordered[..., 1:] != ordered[..., :-1]
        return _scatter(place - np.maximum.accumulate(np.where(opens, place, 0.0), axis=-1), order)


def _scatter(values: np.ndarray, order: np.ndarray) -> np.ndarray:
    """`values` listed in `order`, put back to where the items are."""
    result = np.empty(values.shape)
    np.put_along_axis(result, order, values, axis=-1)
    return result
