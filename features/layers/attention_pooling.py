"""Attention pooling: a history as a mean of its steps, weighed by a learned query."""

from __future__ import annotations

import numpy as np

from features.keras2 import keras
from features.keras2 import tensorflow as tf
from features.layers.weights import matrix, vector

TINY = 1e-9


class AttentionPooling(keras.layers.Layer):
    """sum over steps of softmax(v . tanh(W step + b)) x step; zeros of an empty history.

    Source: Yang et al. 2016, Hierarchical Attention Networks for Document Classification, eq. 5-7.
    """

    def __init__(self, units: int, *, rng: np.random.Generator) -> None:
        super().__init__(name="attention_pooling")
        self._hidden = matrix(rng, units, units, name="pooling")
        self._bias = vector(units, name="pooling")
        self._query = matrix(rng, units, 1, name="query")

    def call(self, steps: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        hidden = tf.tanh(tf.tensordot(steps, self._hidden, 1) + self._bias)
        score = tf.tensordot(hidden, self._query, 1)[:, :, 0]
        odds = tf.exp(score - tf.reduce_max(score, axis=1, keepdims=True)) * mask
        weights = odds / (tf.reduce_sum(odds, axis=1, keepdims=True) + TINY)
        return tf.reduce_sum(steps * weights[:, :, None], axis=1)
