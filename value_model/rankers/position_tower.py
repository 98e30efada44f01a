"""The position tower: what the place on the page adds to a click, apart from the item.

By `form`, with r = logit of relevance and b = the tower's logit at place k (0 = unknown, which changes nothing):

    additive    logit P(click | shown at k) = r + b                 b at 0 learned only where training hides positions
    pal         P(click | shown at k) = sigma(b) sigma(r)           sigma(b) = P(examined)
    dla         P(click | shown at k) = e sigma(r)                  e = sigma(b) / sigma(b at 1), learned beside it
    ipw, none   the tower stays at zero

A tower of its own keeps the ranker's other inputs from explaining the place, so that serving can leave it out. Where a
head's condition is an event, such as cvr's click, the item was examined: but for "additive" the place changes nothing.
Sources: Zhao et al. 2019, Recommending What Video to Watch Next, section 4.3 (additive); Guo et al. 2019, PAL; for dla
and ipw `value_model.rankers.examined_clicks`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from features.keras2 import keras
from features.keras2 import tensorflow as tf
from marketplace.heads import Head
from value_model.rankers.logits import product_logit

PRIOR = 20.0  # rows at the mean rate that every position is taken to have
MOST_EXAMINED = 0.95  # P(examined) that learning starts from at the place of the most clicks


class PositionTower(keras.layers.Layer):
    """Logits [N, heads] of positions int32 [N] (0 = unknown); positions beyond the last share its row.

    With `factors`, each head's logit is bias[k] + sum_f mix[n, f] * loading[k, head, f]: who looks how far down may
    depend on the request. With `presentation` columns, presentation[n] . shown[column, head] is added where there is a
    place (additive). Position 0 is neutral: its row stays zero unless positions are hidden in training.
    """

    def __init__(self, *, form: str, positions: int, heads: Sequence[Head], factors: int, presentation: int) -> None:
        super().__init__(name="position_tower")
        self._form, self._last, self._factors, self._presentation = form, positions, factors, presentation
        self._unseen = np.array([not head.after_event for head in heads], bool)
        self.bias = tf.Variable(np.zeros((positions + 1, len(heads)), np.float32), name="bias")
        if factors:
            self.loading = tf.Variable(np.zeros((positions + 1, len(heads) * factors), np.float32), name="loading")
        if presentation:
            self.display = tf.Variable(np.zeros((presentation, len(heads)), np.float32), name="display")

    def adapt(self, position: np.ndarray, event: np.ndarray, weight: np.ndarray, *, head: int) -> float:
        """Start head `head` at the log odds of each position; returns those of an item whose place is unknown."""
        place = np.clip(position, 0, self._last)
        rows = np.bincount(place, weight, minlength=self._last + 1)
        hits = np.bincount(place, weight * event, minlength=self._last + 1)
        mean = (hits.sum() + 0.5) / (rows.sum() + 1)
        rate = (hits + PRIOR * mean) / (rows + PRIOR)
        bias, start = self.bias.numpy(), float(mean)
        if self._form == "additive":
            bias[1:, head] = (log_odds(rate) - log_odds(mean))[1:]
        elif self._form in ("pal", "dla") and self._unseen[head] and rows[1:].any():
            start = min(float(rate[1:].max()) / MOST_EXAMINED, MOST_EXAMINED)
            bias[1:, head] = log_odds(np.minimum(rate[1:] / start, MOST_EXAMINED))
        self.bias.assign(bias)
        return float(log_odds(np.asarray(min(start, MOST_EXAMINED))))

    def call(self, position: tf.Tensor, mix: tf.Tensor, presentation: tf.Tensor | None = None) -> tf.Tensor:
        place = tf.clip_by_value(position, 0, self._last)
        logits = tf.gather(self.bias, place)
        if self._factors:
            loading = tf.reshape(tf.gather(self.loading, place), [-1, len(self._unseen), self._factors])
            logits += tf.reduce_sum(loading * mix[:, None, :], axis=2)
        if presentation is not None and self._presentation:
            logits += tf.where((position > 0)[:, None], tf.matmul(presentation, self.display), 0.0)
        return logits

    def shown(
        self, relevance: tf.Tensor, position: tf.Tensor | None, mix: tf.Tensor, presentation: tf.Tensor | None
    ) -> tf.Tensor:
        """Logits [N, heads] of what is recorded at `position` (None = unknown), from those of relevance."""
        place = tf.zeros(tf.shape(relevance)[:1], tf.int32) if position is None else position
        if self._form == "additive":
            return relevance + self(place, mix, presentation)
        if self._form != "pal" or position is None:
            return relevance
        concerned = (place > 0)[:, None] & self._unseen
        return tf.where(concerned, product_logit(relevance, self(place, mix)), relevance)

    def examination(self, position: tf.Tensor, mix: tf.Tensor) -> tf.Tensor:
        """P(examined) relative to the first place, float32 [N], 1 where the place is unknown; of dla."""
        at_place = tf.sigmoid(self(position, mix)[:, self.lead])
        at_first = tf.sigmoid(self(tf.ones_like(position), mix)[:, self.lead])
        return tf.where(position > 0, at_place / at_first, 1.0)

    @property
    def lead(self) -> int:
        """The first head of items that may not have been examined: its column is every head's examination in dla."""
        return int(np.argmax(self._unseen))


def log_odds(p: np.ndarray) -> np.ndarray:
    return np.log(p) - np.log1p(-p)
