"""Means of losses over rows."""

from __future__ import annotations

from collections.abc import Callable

from features.keras2 import tensorflow as tf

TINY = 1e-7  # the weight of all rows is taken to be no less
RowMean = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]  # (values, weight), float32 [N] each


def row_mean(values: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    """sum of weight x value / sum of weight; 0 where nothing has weight."""
    return tf.reduce_sum(weight * values) / tf.maximum(tf.reduce_sum(weight), TINY)
