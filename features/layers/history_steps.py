"""Steps of a history: the columns of each step, embedded and projected to one vector."""

from __future__ import annotations

import numpy as np

from features.history_columns import NAMES
from features.keras2 import keras
from features.keras2 import tensorflow as tf
from features.layers.tables import EmbeddingTables
from features.layers.weights import matrix, vector
from features.spec import FeatureSpec, Group, Kind


class HistorySteps(keras.layers.Layer):
    """The history columns that a spec has, as steps float32 [B, L, units], oldest first, and a mask [B, L], 1 = a step.

    Steps behind the last are zeros, and so are all of an empty history.
    """

    def __init__(self, spec: FeatureSpec, tables: EmbeddingTables, *, units: int, rng: np.random.Generator) -> None:
        super().__init__(name="history_steps")
        lists, start = spec.select(Group.USER, Kind.CATEGORIES), 0
        self._columns = []
        for feature in lists:
            if feature.name in NAMES:
                self._columns.append((feature, slice(start, start + feature.length)))
            start += feature.length
        if not self._columns:
            raise ValueError(f"the spec has none of the columns of a history: {', '.join(NAMES)}.")
        self.length = self._columns[0][0].length
        self._tables = tables
        self._projection = matrix(rng, len(self._columns) * tables.width, units, name="step")
        self._bias = vector(units, name="step")

    def call(self, lists: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        codes = [lists[:, place] for _, place in self._columns]
        mask = tf.cast(tf.not_equal(codes[0], 0), tf.float32)
        vectors = [self._tables(code, feature) for code, (feature, _) in zip(codes, self._columns, strict=True)]
        steps = tf.tensordot(tf.concat(vectors, axis=2), self._projection, 1) + self._bias
        return steps * mask[:, :, None], mask


def newest(states: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """[B, units]: the state of the last step, zeros of an empty history."""
    last = mask * (1.0 - tf.concat([mask[:, 1:], tf.zeros_like(mask[:, :1])], axis=1))
    return tf.reduce_sum(states * last[:, :, None], axis=1)
