"""The position tower: what the place on the page adds to a click, apart from the item.

logit P(click | shown at k) = relevance + bias[k], bias[0] learned only where training hides positions. A tower of its
own keeps the ranker's other inputs from explaining the place, so that serving can leave it out.
Source: Zhao et al. 2019, Recommending What Video to Watch Next, section 4.3 (shallow tower); Guo et al. 2019, PAL.
"""

from __future__ import annotations

import numpy as np

from features.keras2 import keras
from features.keras2 import tensorflow as tf

PRIOR = 20.0  # rows at the mean rate that every position is taken to have


class PositionTower(keras.layers.Layer):
    """Logits [N, heads] of positions int32 [N] (0 = unknown); positions beyond the last share its row.

    With `factors`, each head's logit is bias[k] + sum_f mix[n, f] * loading[k, head, f]: who looks how far down may
    depend on the request. Position 0 is neutral: its row stays zero unless positions are hidden in training.
    """

    def __init__(self, *, positions: int, heads: int, factors: int) -> None:
        super().__init__(name="position_tower")
        self._last, self._heads, self._factors = positions, heads, factors
        self.bias = tf.Variable(np.zeros((positions + 1, heads), np.float32), name="bias")
        if factors:
            self.loading = tf.Variable(np.zeros((positions + 1, heads * factors), np.float32), name="loading")

    def adapt(self, position: np.ndarray, event: np.ndarray, weight: np.ndarray, *, head: int) -> float:
        """Start head `head` at each position's log odds beyond the mean's, which is returned."""
        place = np.clip(position, 0, self._last)
        rows = np.bincount(place, weight, minlength=self._last + 1)
        hits = np.bincount(place, weight * event, minlength=self._last + 1)
        mean = (hits.sum() + 0.5) / (rows.sum() + 1)
        rate = (hits + PRIOR * mean) / (rows + PRIOR)
        bias = self.bias.numpy()
        bias[1:, head] = (log_odds(rate) - log_odds(mean))[1:]
        self.bias.assign(bias)
        return float(log_odds(mean))

    def call(self, position: tf.Tensor, mix: tf.Tensor) -> tf.Tensor:
        place = tf.clip_by_value(position, 0, self._last)
        logits = tf.gather(self.bias, place)
        if self._factors:
            loading = tf.reshape(tf.gather(self.loading, place), [-1, self._heads, self._factors])
            logits += tf.reduce_sum(loading * mix[:, None, :], axis=2)
        return logits


def log_odds(p: np.ndarray) -> np.ndarray:
    return np.log(p) - np.log1p(-p)
