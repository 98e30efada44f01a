"""Keras layers that turn packed model inputs into dense vectors, shared by the towers and the ranker.

Conventions: B rows; codes int32 [B, categories] and lists int32 [B, sum of lengths] as in `ModelInputs` (0 = padding
or missing, its vector is zero; 1 = not in the vocabulary); numbers float32 [B, F] with NaN = missing. Every layer
uses operations that convert to ONNX only.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from features.keras2 import keras
from features.keras2 import tensorflow as tf
from features.spec import Feature, FeatureSpec, Group, Kind

FAR = 1e9  # where the unused bins of a number with few values begin: no value reaches them
SPAN = 4.0  # standardised numbers are clipped to this many deviations


def vocabulary(feature: Feature) -> str:
    """The embedding table of a feature: its vocabulary's, or its own."""
    return feature.vocabulary or feature.name


class EmbeddingTables(keras.layers.Layer):
    """One embedding table a vocabulary, shared by every feature that names it.

    `sizes[vocabulary]` counts codes 0 and 1 too. Rows start as normal(0, 0.05).
    """

    def __init__(self, spec: FeatureSpec, sizes: Mapping[str, int], *, width: int, rng: np.random.Generator) -> None:
        super().__init__(name="tables")
        self.width = width
        names = dict.fromkeys(vocabulary(feature) for feature in spec.features if feature.kind is not Kind.NUMBER)
        starts = {name: rng.normal(0, 0.05, (max(sizes[name], 2), width)).astype(np.float32) for name in names}
        # Keras sees the variables of a dictionary only when it is assigned whole.
        self._rows = {name: tf.Variable(start, name=f"table_{name}") for name, start in starts.items()}

    def call(self, codes: tf.Tensor, feature: Feature) -> tf.Tensor:
        """Vectors [..., width] of codes [...]; code 0 gives zeros."""
        known = tf.cast(tf.not_equal(codes, 0), tf.float32)
        return tf.gather(self._rows[vocabulary(feature)], codes) * known[..., None]

    def pooled(self, codes: tf.Tensor, feature: Feature) -> tf.Tensor:
        """Mean vector [B, width] of each list's codes [B, L] that are not padding; zeros for an empty list."""
        count = tf.reduce_sum(tf.cast(tf.not_equal(codes, 0), tf.float32), axis=1, keepdims=True)
        return tf.reduce_sum(self(codes, feature), axis=1) / tf.maximum(count, 1.0)


class NumberEncoder(keras.layers.Layer):
    """Numbers [B, F] as standardised value, missing indicator, and piecewise-linear quantile code.

    x -> [z, missing, clip((x - edge_t) / (edge_t+1 - edge_t), 0, 1) for each of `bins` quantile bins], where x is
    log1p of the number for features of log scale; zeros where missing. Learned from training rows by `adapt`.
    Source: Gorishniy et al. 2022, On Embeddings for Numerical Features in Tabular Deep Learning, section 3.2.
    """

    def __init__(self, features: tuple[Feature, ...], *, bins: int, name: str) -> None:
        super().__init__(name=name)
        n = len(features)
        self.width = n * (2 + bins)
        self._log = np.array([feature.log_scale for feature in features], bool)
        self._bins = bins
        self.mean = tf.Variable(np.zeros(n, np.float32), trainable=False, name="mean")
        self.deviation = tf.Variable(np.ones(n, np.float32), trainable=False, name="deviation")
        self.low = tf.Variable(np.full((n, bins), FAR, np.float32), trainable=False, name="low")
        self.span = tf.Variable(np.ones((n, bins), np.float32), trainable=False, name="span")

    def adapt(self, numbers: np.ndarray) -> None:
        """Learn mean, deviation and quantile bins from training rows; an all-missing column stays neutral."""
        for column, values in enumerate(numbers.T.astype(np.float64)):
            values = values[np.isfinite(values)]
            if len(values) == 0:
                continue
            if self._log[column]:
                values = np.log1p(np.maximum(values, 0))
            self.mean[column].assign(values.mean())
            spread = values.std()
            # A number that never moved in training has untrained weights: it must stay silent when it moves.
            self.deviation[column].assign(spread if spread > 1e-6 * max(1.0, abs(values.mean())) else FAR)
            edges = distinct_quantiles(values, self._bins)
            low, span = np.full(self._bins, FAR), np.ones(self._bins)
            low[: len(edges) - 1], span[: len(edges) - 1] = edges[:-1], np.diff(edges)
            self.low[column].assign(low)
            self.span[column].assign(span)

    def call(self, numbers: tf.Tensor) -> tf.Tensor:
        missing = tf.math.is_nan(numbers)
        present = 1.0 - tf.cast(missing, tf.float32)
        values = tf.where(missing, tf.zeros_like(numbers), numbers)
        if self._log.any():
            values = tf.where(self._log, tf.math.log(1.0 + tf.maximum(values, 0.0)), values)
        z = tf.clip_by_value((values - self.mean) / self.deviation, -SPAN, SPAN) * present
        parts = [z, 1.0 - present]
        if self._bins:
            ramps = tf.clip_by_value((values[:, :, None] - self.low) / self.span, 0.0, 1.0) * present[:, :, None]
            parts.append(tf.reshape(ramps, [-1, int(self.low.shape[0]) * self._bins]))
        return tf.concat(parts, axis=1)


def distinct_quantiles(values: np.ndarray, bins: int) -> np.ndarray:
    """At most bins + 1 increasing edges; a value that repeats holds one edge, so that rare values keep theirs."""
    distinct = np.unique(values)
    if len(distinct) > bins + 1:
        distinct = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)))
    if len(distinct) == 1:
        return distinct
    keep = np.concatenate([[True], np.diff(distinct) > 1e-6 * max(1.0, abs(distinct[-1]))])
    return distinct[keep]


class GroupEncoder(keras.layers.Layer):
    """One group's categories, lists and numbers as a dense vector [B, width]."""

    def __init__(self, spec: FeatureSpec, group: Group, tables: EmbeddingTables, *, bins: int) -> None:
        super().__init__(name=f"{group.value}_encoder")
        self._categories = spec.select(group, Kind.CATEGORY)
        self._lists = spec.select(group, Kind.CATEGORIES)
        self._tables = tables
        self.numbers = NumberEncoder(spec.select(group, Kind.NUMBER), bins=bins, name=f"{group.value}_numbers")
        self.width = tables.width * (len(self._categories) + len(self._lists)) + self.numbers.width

    def call(self, codes: tf.Tensor, lists: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
        parts = [self._tables(codes[:, column], feature) for column, feature in enumerate(self._categories)]
        start = 0
        for feature in self._lists:
            parts.append(self._tables.pooled(lists[:, start : start + feature.length], feature))
            start += feature.length
        if self.numbers.width:
            parts.append(self.numbers(numbers))
        return tf.concat(parts, axis=1) if parts else tf.zeros([tf.shape(codes)[0], 0])
