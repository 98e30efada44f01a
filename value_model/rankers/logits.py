"""Logits: from what the network says to probabilities and money, and the product that ESMM supervises.

ctcvr = ctr * cvr, supervised on every impression, so that cvr is not learned on clicked rows alone
(Ma et al. 2018, Entire Space Multi-Task Model, equation 4). Order value: log v ~ Normal(mu, sigma^2) given an order,
so E[v | order] = exp(mu + sigma^2 / 2), and E[v | shown] = ctcvr * E[v | order]; the zero inflation of the impression
is ctcvr itself (Wang et al. 2019, A Deep Probabilistic Model for Customer Lifetime Value Prediction, equation 3).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from features.keras2 import tensorflow as tf
from marketplace.heads import HeadKind, head_of

SIGMA = (0.05, 2.0)  # deviations of a log amount that a head may claim


class LogNormal(NamedTuple):
    """Mean and deviation of the logarithm of an amount, float32 [N] each."""

    mu: tf.Tensor
    sigma: tf.Tensor


class Logits(NamedTuple):
    """What the network says of N rows: float32 [N] a learned probability, a LogNormal a learned amount."""

    events: Mapping[str, tf.Tensor]
    amounts: Mapping[str, LogNormal]


def predictions(logits: Logits) -> dict[str, tf.Tensor]:
    """The learned heads, float64 [N] each."""
    return {name: from_log_scale(name, values) for name, values in log_scale(logits).items()}


def log_scale(logits: Logits) -> dict[str, tf.Tensor]:
    """The learned heads on their log scale, float64 [N]: log odds of a probability, the log of an amount.

    There pooling, calibration and group offsets are sums, and a probability near 1 keeps its digits: float32 tells
    1 - p of p = .99 to six parts in a million, and so would its log odds be.
    """
    events = {name: tf.cast(logit, tf.float64) for name, logit in logits.events.items()}
    amounts = {name: [tf.cast(part, tf.float64) for part in normal] for name, normal in logits.amounts.items()}
    return events | {name: mu + tf.square(sigma) / 2 for name, (mu, sigma) in amounts.items()}


def from_log_scale(name: str, values: tf.Tensor) -> tf.Tensor:
    """A head from its log scale."""
    return tf.exp(values) if head_of(name).kind is HeadKind.MONEY else tf.sigmoid(values)


def log_probability(logits: Logits, name: str) -> tf.Tensor:
    """log P of a learned head, or of the product of learned heads that it is, float32 [N]."""
    if name in logits.events:
        return tf.math.log_sigmoid(logits.events[name])
    return tf.add_n([log_probability(logits, factor) for factor in head_of(name).factors])


def product_logit(relevance: tf.Tensor, examined: tf.Tensor) -> tf.Tensor:
    """logit(sigma(r) sigma(b)) = b - log(1 + exp(log(1 + e^b) - r)), without either probability."""
    return examined - tf.math.softplus(tf.math.softplus(examined) - relevance)


def share_logit(share: tf.Tensor) -> tf.Tensor:
    """log(s / (1 - s)) of shares s, float32, finite: at least 1e-6 from 0 and from 1."""
    share = tf.clip_by_value(share, 1e-6, 1 - 1e-6)
    return tf.math.log(share) - tf.math.log1p(-share)
