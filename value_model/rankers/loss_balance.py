"""Balance of the heads' losses by their gradients on what they share.

Conventions: T losses L_t with gradients g_t on the shared weights; `gram` float32 [T, T] holds their inner products
g_s . g_t, all that these methods need; `counted` float32 [T] is 1, or 0 for a head that is learned no further. Each
returns float32 [T], the weights of the gradients in the step of the shared weights: sum_t w_t g_t. What belongs to one
head alone follows its own loss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from features.keras2 import tensorflow as tf

Gradient = Any  # of one loss by one variable: a tensor, IndexedSlices of an embedding table, or None

FRANK_WOLFE_STEPS = 20
TINY = 1e-12


class GradientBalance(Protocol):
    """Built for T losses; `variables` are what it learns on the way, a part of a fit's state."""

    def __init__(self, count: int) -> None: ...

    @property
    def variables(self) -> tuple[tf.Variable, ...]: ...

    def __call__(self, gram: tf.Tensor, losses: tf.Tensor, counted: tf.Tensor, seed: tf.Tensor) -> tf.Tensor: ...


class MinNorm(tf.Module):
    """The shortest convex combination of the gradients: no loss grows along it, and it is 0 where none can gain alone.

    min over w >= 0, sum w = 1 of |sum_t w_t g_t|^2, by Frank and Wolfe's steps, each with its exact length.
    Source: Sener and Koltun 2018, Multi-Task Learning as Multi-Objective Optimization, algorithm 2.
    """

    def __init__(self, count: int) -> None:
        super().__init__(name="min_norm")
        self._count = count

    def __call__(self, gram: tf.Tensor, losses: tf.Tensor, counted: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        weights = counted / tf.maximum(tf.reduce_sum(counted), 1.0)
        for _ in range(FRANK_WOLFE_STEPS):
            slope = tf.linalg.matvec(gram, weights)
            corner = tf.one_hot(tf.argmin(tf.where(counted > 0, slope, gram.dtype.max)), self._count) * counted
            way = corner - weights
            length = tf.reduce_sum(way * tf.linalg.matvec(gram, way))
            step = -tf.reduce_sum(way * slope) / tf.maximum(length, TINY)
            weights += tf.clip_by_value(step, 0.0, 1.0) * way
        return weights


class ConflictProjection(tf.Module):
    """Gradients of which none works against another: each loses its part along those that it conflicts with (PCGrad).

    g_t <- g_t - (g_t . g_s / |g_s|^2) g_s where g_t . g_s < 0, for the other s in an order drawn a step; then the sum.
    Source: Yu et al. 2020, Gradient Surgery for Multi-Task Learning, algorithm 1.
    """

    def __init__(self, count: int) -> None:
        super().__init__(name="conflict_projection")
        self._count = count

    def __call__(self, gram: tf.Tensor, losses: tf.Tensor, counted: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        order = tf.argsort(tf.random.stateless_uniform([self._count], seed=seed))
        parts = tf.eye(self._count)  # row t: how g_t is made of all gradients
        for turn in range(self._count):
            other = tf.one_hot(order[turn], self._count)
            along = tf.linalg.matvec(parts, tf.linalg.matvec(gram, other))
            conflict = (along < 0) & (other == 0)
            share = along / tf.maximum(tf.reduce_sum(other * tf.linalg.matvec(gram, other)), TINY)
            parts -= tf.where(conflict, share, 0.0)[:, None] * other
        return tf.linalg.matvec(parts, counted, transpose_a=True) * counted


class GradientNorms(tf.Module):
    """Weights learned so that losses which fell less have the larger gradients (GradNorm); they sum to their number.

    w_t |g_t| is led to mean_s(w_s |g_s|) * r_t^ALPHA, r_t = (L_t / L_t at the start) / their mean.
    Source: Chen et al. 2018, GradNorm, equations 1 and 2 and algorithm 1.
    """

    ALPHA = 1.5
    RATE = 0.01

    def __init__(self, count: int) -> None:
        super().__init__(name="gradient_norms")
        self.weights = tf.Variable(np.ones(count, np.float32), trainable=False, name="gradient_weights")
        self.start = tf.Variable(np.zeros(count, np.float32), trainable=False, name="first_losses")

    def __call__(self, gram: tf.Tensor, losses: tf.Tensor, counted: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        losses = tf.maximum(losses, TINY)
        self.start.assign(tf.where(self.start == 0, losses, self.start))
        number = tf.maximum(tf.reduce_sum(counted), 1.0)
        pace = losses / self.start * counted
        pace /= tf.maximum(tf.reduce_sum(pace) / number, TINY)
        norms = tf.sqrt(tf.linalg.diag_part(gram)) * counted
        size = tf.maximum(tf.reduce_sum(norms) / number, TINY)
        weighed = self.weights * norms
        target = tf.reduce_sum(weighed) / number * tf.pow(pace, self.ALPHA)
        moved = self.weights - self.RATE * tf.sign(weighed - target) * norms / size
        moved = tf.maximum(moved, self.RATE) * counted
        self.weights.assign(tf.where(counted > 0, moved * number / tf.reduce_sum(moved), self.weights))
        return self.weights * counted


BALANCES: Mapping[str, type[GradientBalance]] = {
    "gradnorm": GradientNorms,
    "pcgrad": ConflictProjection,
    "min_norm": MinNorm,
}


def inner_products(gradients: Sequence[Sequence[Gradient]], shared: Sequence[bool]) -> tf.Tensor:
    """`gram` of T losses' gradients by the same variables, over the dense ones of the `shared` variables."""
    columns = [column for column, use in zip(zip(*gradients, strict=True), shared, strict=True) if use]
    dense = [column for column in columns if not any(isinstance(one, tf.IndexedSlices) for one in column)]
    known = [[one for one in column if one is not None] for column in dense]
    flat = [
        tf.stack([tf.zeros_like(present[0]) if one is None else one for one in column])
        for column, present in zip(dense, known, strict=True)
        if present
    ]
    rows = tf.concat([tf.reshape(values, [len(gradients), -1]) for values in flat], axis=1)
    return tf.matmul(rows, rows, transpose_b=True)


def weighted_sum(gradients: Sequence[Gradient], weights: Sequence[tf.Tensor]) -> Gradient:
    """sum_t w_t g_t of one variable's gradients; slices stay slices."""
    terms = [(one, weight) for one, weight in zip(gradients, weights, strict=True) if one is not None]
    if terms and all(isinstance(one, tf.IndexedSlices) for one, _ in terms):
        values = tf.concat([weight * one.values for one, weight in terms], axis=0)
        return tf.IndexedSlices(values, tf.concat([one.indices for one, _ in terms], axis=0))
    return tf.add_n([weight * tf.convert_to_tensor(one) for one, weight in terms]) if terms else None
