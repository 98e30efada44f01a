"""Causal Transformer: each step of a history attends to itself and to those before it."""

from __future__ import annotations

import numpy as np

from features.keras2 import keras
from features.keras2 import tensorflow as tf
from features.layers.history_steps import newest
from features.layers.sequence_shape import SequenceShape
from features.layers.weights import matrix, vector

MASKED = -1e9
EPSILON = 1e-6


class CausalTransformer(keras.layers.Layer):
    """The last step's state after `blocks` of attention and feed-forward; zeros of an empty history.

    Places are counted from the newest step, as the last is the one that is read. A "transformer" has the blocks of
    SASRec (Kang and McAuley 2018, section III), "ligr" those of LiGR: normed inputs, gated residuals, SwiGLU
    (Borisyuk et al. 2025, section 4; Tikhonovich et al. 2025, eSASRec, section 3).
    """

    def __init__(self, shape: SequenceShape, *, length: int, rng: np.random.Generator) -> None:
        super().__init__(name="causal_transformer")
        block = GatedBlock if shape.kind == "ligr" else PlainBlock
        self._places = tf.Variable(rng.normal(0, 0.05, (length + 1, shape.units)).astype(np.float32), name="bias_place")
        self._blocks = [block(shape, length=length, rng=rng) for _ in range(shape.blocks)]
        self._norm = Norm(shape.units)
        self._later = np.tril(np.ones((length, length), np.float32))  # [j, i]: j >= i

    def call(self, steps: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        place = tf.cast(tf.matmul(mask, self._later), tf.int32)  # 1 = newest; steps at or after each
        states = steps + tf.gather(self._places, place)
        for block in self._blocks:
            states = block(states)
        return newest(self._norm(states), mask)


class PlainBlock(keras.layers.Layer):
    """SASRec's: q = norm(x); y = norm(q + attention(q, x)); y + relu(y W + b) V + c."""

    def __init__(self, shape: SequenceShape, *, length: int, rng: np.random.Generator) -> None:
        super().__init__(name="plain_block")
        self._attention = CausalAttention(shape, length=length, rng=rng)
        self._norms = [Norm(shape.units), Norm(shape.units)]
        self._hidden = matrix(rng, shape.units, shape.units, name="hidden")
        self._outer = matrix(rng, shape.units, shape.units, name="outer")
        self._biases = [vector(shape.units, name="hidden"), vector(shape.units, name="outer")]

    def call(self, states: tf.Tensor) -> tf.Tensor:
        query = self._norms[0](states)
        states = self._norms[1](query + self._attention(query, states))
        hidden = tf.nn.relu(tf.tensordot(states, self._hidden, 1) + self._biases[0])
        return states + tf.tensordot(hidden, self._outer, 1) + self._biases[1]


class GatedBlock(keras.layers.Layer):
    """LiGR's: x + sigmoid(x G) * attention(norm(x)); then the same with silu(n W) * (n V) U of n = norm(x)."""

    def __init__(self, shape: SequenceShape, *, length: int, rng: np.random.Generator) -> None:
        super().__init__(name="gated_block")
        self._attention = CausalAttention(shape, length=length, rng=rng)
        self._norms = [Norm(shape.units), Norm(shape.units)]
        self._gates = [matrix(rng, shape.units, shape.units, name=f"gate_{i}") for i in range(2)]
        self._hidden = matrix(rng, shape.units, 4 * shape.units, name="hidden")
        self._outer = matrix(rng, 2 * shape.units, shape.units, name="outer")

    def call(self, states: tf.Tensor) -> tf.Tensor:
        normed = self._norms[0](states)
        states += tf.sigmoid(tf.tensordot(states, self._gates[0], 1)) * self._attention(normed, normed)
        swish, linear = tf.split(tf.tensordot(self._norms[1](states), self._hidden, 1), 2, axis=2)
        outer = tf.tensordot(swish * tf.sigmoid(swish) * linear, self._outer, 1)
        return states + tf.sigmoid(tf.tensordot(states, self._gates[1], 1)) * outer


class CausalAttention(keras.layers.Layer):
    """softmax(q k / sqrt(units of a head)) v of the steps up to each; float32 [B, L, units]."""

    def __init__(self, shape: SequenceShape, *, length: int, rng: np.random.Generator) -> None:
        super().__init__(name="causal_attention")
        self._heads, self._length, self._of_head = shape.heads, length, shape.units // shape.heads
        self._query = matrix(rng, shape.units, shape.units, name="query")
        self._key_value = matrix(rng, shape.units, 2 * shape.units, name="key_value")
        self._outer = matrix(rng, shape.units, shape.units, name="attended")
        self._bar = np.triu(np.full((length, length), MASKED, np.float32), 1)

    def call(self, query: tf.Tensor, states: tf.Tensor) -> tf.Tensor:
        key, value = tf.split(tf.tensordot(states, self._key_value, 1), 2, axis=2)
        query, key, value = map(self._split, (tf.tensordot(query, self._query, 1), key, value))
        score = tf.matmul(query, key, transpose_b=True) / np.float32(np.sqrt(self._of_head)) + self._bar
        attended = tf.transpose(tf.matmul(tf.nn.softmax(score), value), [0, 2, 1, 3])
        return tf.tensordot(tf.reshape(attended, [-1, self._length, self._heads * self._of_head]), self._outer, 1)

    def _split(self, states: tf.Tensor) -> tf.Tensor:
        """[B, heads, L, units of a head]."""
        return tf.transpose(tf.reshape(states, [-1, self._length, self._heads, self._of_head]), [0, 2, 1, 3])


class Norm(keras.layers.Layer):
    """Layer normalisation over the last axis."""

    def __init__(self, units: int) -> None:
        super().__init__(name="norm")
        self._scale, self._shift = vector(units, name="norm_scale", start=1.0), vector(units, name="norm_shift")

    def call(self, states: tf.Tensor) -> tf.Tensor:
        centred = states - tf.reduce_mean(states, axis=-1, keepdims=True)
        spread = tf.reduce_mean(centred * centred, axis=-1, keepdims=True)
        return centred * tf.math.rsqrt(spread + EPSILON) * self._scale + self._shift
