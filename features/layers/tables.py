"""Embedding tables: one a vocabulary."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from features.keras2 import keras
from features.keras2 import tensorflow as tf
from features.spec import Feature, FeatureSpec, Kind


class EmbeddingTables(keras.layers.Layer):
    """One embedding table a vocabulary, shared by every feature that names it.

    `sizes[vocabulary]` counts codes 0 and 1 too. Rows start as normal(0, 0.05).
    """

    def __init__(self, spec: FeatureSpec, sizes: Mapping[str, int], *, width: int, rng: np.random.Generator) -> None:
        super().__init__(name="tables")
        self.width = width
        names = dict.fromkeys(feature.table for feature in spec.features if feature.kind is not Kind.NUMBER)
        starts = {name: rng.normal(0, 0.05, (max(sizes[name], 2), width)).astype(np.float32) for name in names}
        # Keras sees the variables of a dictionary only when it is assigned whole.
        self._rows = {name: tf.Variable(start, name=f"table_{name}") for name, start in starts.items()}

    def call(self, codes: tf.Tensor, feature: Feature) -> tf.Tensor:
        """Vectors [..., width] of codes [...]; code 0 gives zeros."""
        known = tf.cast(tf.not_equal(codes, 0), tf.float32)
        return tf.gather(self._rows[feature.table], codes) * known[..., None]

    def pooled(self, codes: tf.Tensor, feature: Feature) -> tf.Tensor:
        """Mean vector [B, width] of each list's codes [B, L] that are not padding; zeros for an empty list."""
        count = tf.reduce_sum(tf.cast(tf.not_equal(codes, 0), tf.float32), axis=1, keepdims=True)
        return tf.reduce_sum(self(codes, feature), axis=1) / tf.maximum(count, 1.0)
