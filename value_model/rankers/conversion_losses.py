"""ESCM2: a head's own loss where its condition holds, counted so that it speaks of every row shown.

Conventions: the head is cvr, its condition a click; the same holds of any head that is taught through a product.

    e    = cross-entropy of cvr                  c = click            p = predicted P(click), no less than LEAST, given
    ips  = mean of c e / p
    dr   = mean of i + c (e - i) / p + c (e' - i')^2 / p              i = cross-entropy of cvr against an imputed rate r

Means are over all rows. Both expect the mean of e over all rows, clicked or not, where p is right; dr also where i is.
The last term teaches the imputed rate alone (e', i' are given to cvr), which nothing serves: a logistic regression on
the first layer.
Sources: Wang et al. 2022, ESCM2, equations 6-11; Wang et al. 2019, Doubly Robust Joint Learning for Recommendation.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from features.keras2 import tensorflow as tf
from marketplace.heads import Head, head_of, heads_of
from value_model.rankers.logits import Logits, log_probability
from value_model.rankers.row_means import RowMean, row_mean

LEAST = 0.01  # the propensity of rarer clicks: what one row weighs is bounded by 100


class ImputedRate(tf.Module):
    """P(order | click) by the hidden units of the first layer, float32 [N, hidden]."""

    def __init__(self, hidden: int) -> None:
        super().__init__(name="imputed_rate")
        self.kernel = tf.Variable(np.zeros((hidden, 1), np.float32), name="imputed_kernel")
        self.bias = tf.Variable(np.zeros(1, np.float32), name="imputed_bias")

    def __call__(self, hidden: tf.Tensor) -> tf.Tensor:
        """Logits, float32 [N]."""
        return tf.matmul(tf.nn.relu(hidden), self.kernel)[:, 0] + self.bias


def propensity(logits: Logits, head: Head) -> tf.Tensor:
    """P(the head's condition) by the other factors of the product that it completes, float32 [N], without gradient."""
    assert head.through is not None
    others = [log_probability(logits, name) for name in head_of(head.through).factors if name != head.name]
    return tf.stop_gradient(tf.maximum(tf.exp(tf.add_n(others)), LEAST))


def conversion_losses(
    logits: Logits,
    labels: Mapping[str, tf.Tensor],
    *,
    weight: tf.Tensor,
    hidden: tf.Tensor,
    imputed: Mapping[str, ImputedRate],
    mean: RowMean = row_mean,
) -> dict[str, tf.Tensor]:
    """By head that is taught through a product: "dr" where it has an imputed rate, else "ips"."""
    losses = {}
    for head in heads_of(logits.events):
        if head.through and head.name in imputed:
            rate = imputed[head.name](tf.stop_gradient(hidden))
            losses[head.name] = doubly_robust(logits, head, labels, weight=weight, imputed=rate, mean=mean)
        elif head.through:
            losses[head.name] = inverse_propensity(logits, head, labels, weight=weight, mean=mean)
    return losses


def inverse_propensity(
    logits: Logits, head: Head, labels: Mapping[str, tf.Tensor], *, weight: tf.Tensor, mean: RowMean = row_mean
) -> tf.Tensor:
    """The loss "ips"."""
    held, label = held_rows(head, labels, weight)
    counted = condition(head, labels) / propensity(logits, head)
    return mean(counted * cross_entropy(label, logits.events[head.name]), held)


def doubly_robust(
    logits: Logits,
    head: Head,
    labels: Mapping[str, tf.Tensor],
    *,
    weight: tf.Tensor,
    imputed: tf.Tensor,
    mean: RowMean = row_mean,
) -> tf.Tensor:
    """The loss "dr"; `imputed` are logits of the imputed rate, float32 [N]."""
    held, label = held_rows(head, labels, weight)
    counted = condition(head, labels) / propensity(logits, head)
    logit = logits.events[head.name]
    error, guess = cross_entropy(label, logit), cross_entropy(tf.stop_gradient(tf.sigmoid(imputed)), logit)
    fixed = tf.stop_gradient(logit)
    miss = tf.stop_gradient(error) - cross_entropy(tf.sigmoid(imputed), fixed)
    return mean(guess + counted * (error - guess) + counted * tf.square(miss), held)


def held_rows(head: Head, labels: Mapping[str, tf.Tensor], weight: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The weights of the rows whose label is known, and the label, 0 where it is not."""
    label = labels[head.label]
    unknown = tf.math.is_nan(label)
    return tf.where(unknown, 0.0, weight), tf.where(unknown, 0.0, label)


def condition(head: Head, labels: Mapping[str, tf.Tensor]) -> tf.Tensor:
    assert head.condition is not None
    return tf.cast(labels[head.condition] > 0, tf.float32)


def cross_entropy(label: tf.Tensor, logit: tf.Tensor) -> tf.Tensor:
    return tf.nn.sigmoid_cross_entropy_with_logits(labels=label, logits=logit)
