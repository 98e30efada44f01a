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
from marketplace.heads import head_of

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
    """The learned heads, float32 [N] each."""
    events = {name: tf.sigmoid(logit) for name, logit in logits.events.items()}
    return events | {name: tf.exp(v.mu + tf.square(v.sigma) / 2) for name, v in logits.amounts.items()}


def log_probability(logits: Logits, name: str) -> tf.Tensor:
    """log P of a learned head, or of the product of learned heads that it is, float32 [N]."""
    if name in logits.events:
        return tf.math.log_sigmoid(logits.events[name])
    return tf.add_n([log_probability(logits, factor) for factor in head_of(name).factors])
