"""Number encoder: standardised values, missing indicators and quantile bins."""

from __future__ import annotations

import numpy as np

from features.keras2 import keras
from features.keras2 import tensorflow as tf
from features.spec import Feature

FAR = 1e9  # stands for infinity: where the unused bins of a number with few values begin
SPAN = 4.0  # standardised numbers are clipped to this many deviations


class NumberEncoder(keras.layers.Layer):
    """Numbers [B, F] as standardised value, missing indicator, and piecewise-linear quantile code.

    x -> [z, missing, clip((x - edge_t) / (edge_t+1 - edge_t), 0, 1) for each of `bins` quantile bins], where x is
    log1p of the number for features of log scale; zeros where missing. Learned from training rows by `adapt`: a number
    that was missing in none of them has its median where it is missing later, since its indicator was never trained.
    Source: Gorishniy et al. 2022, On Embeddings for Numerical Features in Tabular Deep Learning, section 3.2.
    """

    def __init__(self, features: tuple[Feature, ...], *, bins: int, name: str) -> None:
        super().__init__(name=name)
        n = len(features)
        self.width = n * (2 + bins)
        self._log = np.array([feature.log_scale for feature in features], bool)
        self._bins = bins
        self.stand_in = tf.Variable(np.full(n, np.nan, np.float32), trainable=False, name="stand_in")
        self.mean = tf.Variable(np.zeros(n, np.float32), trainable=False, name="mean")
        self.deviation = tf.Variable(np.ones(n, np.float32), trainable=False, name="deviation")
        self.low = tf.Variable(np.full((n, bins), FAR, np.float32), trainable=False, name="low")
        self.span = tf.Variable(np.ones((n, bins), np.float32), trainable=False, name="span")

    def adapt(self, numbers: np.ndarray) -> None:
        """Learn mean, deviation and quantile bins from training rows; an all-missing column stays neutral."""
        for column, every in enumerate(numbers.T.astype(np.float64)):
            values = every[np.isfinite(every)]
            if len(values) == 0:
                continue
            complete = len(values) == len(every)
            self.stand_in[column].assign(np.quantile(values, 0.5, method="lower") if complete else np.nan)
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
        numbers = tf.where(tf.math.is_nan(numbers), self.stand_in, numbers)
        missing = tf.math.is_nan(numbers)
        present = 1.0 - tf.cast(missing, tf.float32)
        values = tf.where(missing, tf.zeros_like(numbers), numbers)
        if self._log.any():
            values = tf.where(self._log, tf.math.log(1.0 + tf.maximum(values, 0.0)), values)
        z = tf.clip_by_value((values - self.mean) / self.deviation, -SPAN, SPAN) * present
        parts = [z, 1.0 - present]
        if self._bins:
            # No value reaches an unused bin, however large: its weights are untrained.
            low = tf.where(self.low == FAR, np.float32(np.inf), self.low)
            values = tf.minimum(values, tf.float32.max)[:, :, None]
            ramps = tf.clip_by_value((values - low) / self.span, 0.0, 1.0) * present[:, :, None]
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
