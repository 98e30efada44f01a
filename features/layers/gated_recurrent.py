"""Gated recurrent unit: a history read step by step, oldest first."""

from __future__ import annotations

import numpy as np

from features.keras2 import keras
from features.keras2 import tensorflow as tf
from features.layers.weights import matrix, vector


class GatedRecurrent(keras.layers.Layer):
    """The state after the last step; zeros of an empty history.

        z, r = sigmoid(W x + U h + b)     n = tanh(W_n x + r * (U_n h) + b_n)     h <- z * h + (1 - z) * n

    Unrolled over the steps, so that no loop is converted. Source: Cho et al. 2014, Learning Phrase Representations
    using RNN Encoder-Decoder, eq. 5-8, with the reset after the product.
    """

    def __init__(self, units: int, *, rng: np.random.Generator) -> None:
        super().__init__(name="gated_recurrent")
        self._units = units
        self._inputs = matrix(rng, units, 3 * units, name="inputs")
        self._state = matrix(rng, units, 3 * units, name="state")
        self._bias = vector(3 * units, name="gates")

    def call(self, steps: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        gates = tf.tensordot(steps, self._inputs, 1) + self._bias
        state = tf.zeros_like(steps[:, 0])
        for place in range(steps.shape[1]):
            of_step, of_state = gates[:, place], tf.matmul(state, self._state)
            both = tf.sigmoid(of_step[:, : 2 * self._units] + of_state[:, : 2 * self._units])
            keep, reset = tf.split(both, 2, axis=1)
            new = tf.tanh(of_step[:, 2 * self._units :] + reset * of_state[:, 2 * self._units :])
            there = mask[:, place, None]
            state = state + there * (1.0 - keep) * (new - state)
        return state
