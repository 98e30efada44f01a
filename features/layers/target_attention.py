"""Target attention (DIN): each candidate weighs the steps of the history by how much they say about it.

Conventions: R requests, N rows, L steps, D units of a step, D / 2 of the hidden layer.

    weight[n, l] = sigmoid(u . relu(A q[n] + B s[l] + C (q[n] * s[l]) + c))        q = W item[n]
    attended[n]  = sum over the steps of weight[n, l] s[l] / L

The weights are not normalised over the steps, so that what more of the history speaks for counts more. What depends on
the request alone (s, B s) is computed once a request, what depends on the item alone (q, A q) once an item.
Source: Zhou et al. 2018, Deep Interest Network for Click-Through Rate Prediction, section 4.3.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from features.keras2 import keras
from features.keras2 import tensorflow as tf
from features.layers.history_steps import HistorySteps
from features.layers.tables import EmbeddingTables
from features.layers.weights import matrix, vector
from features.spec import FeatureSpec


class HistoryKeys(NamedTuple):
    """The request's share: steps [R, L, D], their part of the hidden layer [R, L, D / 2], mask [R, L]."""

    steps: tf.Tensor
    hidden: tf.Tensor
    mask: tf.Tensor


class TargetAttention(keras.layers.Layer):
    """See the top of the module; `item_width` is that of the encoded item."""

    def __init__(
        self, spec: FeatureSpec, tables: EmbeddingTables, *, item_width: int, units: int, rng: np.random.Generator
    ) -> None:
        super().__init__(name="target_attention")
        self._steps = HistorySteps(spec, tables, units=units, rng=rng)
        self.width, hidden = units, max(units // 2, 1)
        self._query_widths = [units, hidden]
        self._query = matrix(rng, item_width, units, name="target")
        self._of_query = matrix(rng, units, hidden, name="of_target")
        self._of_step = matrix(rng, units, hidden, name="of_step")
        self._of_both = matrix(rng, units, hidden, name="of_both")
        self._bias = vector(hidden, name="of_target")
        self._score = matrix(rng, hidden, 1, name="score")

    @property
    def query_width(self) -> int:
        return sum(self._query_widths)

    def keys(self, lists: tf.Tensor) -> HistoryKeys:
        """The requests' share, of their packed lists."""
        steps, mask = self._steps(lists)
        return HistoryKeys(steps, tf.tensordot(steps, self._of_step, 1), mask)

    def query(self, item: tf.Tensor) -> tf.Tensor:
        """The item's share, float32 [N, query_width], of encoded items [N, item_width]."""
        query = tf.matmul(item, self._query)
        return tf.concat([query, tf.matmul(query, self._of_query) + self._bias], axis=1)

    def call(self, query: tf.Tensor, keys: HistoryKeys, request: tf.Tensor) -> tf.Tensor:
        """What the history of each row's `request` (int32 [N]) says of it, float32 [N, D]."""
        target, of_query = tf.split(query, self._query_widths, axis=1)
        steps, of_step, mask = (tf.gather(part, request) for part in keys)
        both = tf.tensordot(target[:, None] * steps, self._of_both, 1)
        score = tf.tensordot(tf.nn.relu(both + of_query[:, None] + of_step), self._score, 1)[:, :, 0]
        weight = tf.sigmoid(score) * mask / float(steps.shape[1])
        return tf.matmul(weight[:, None], steps)[:, 0]
