"""From logits to probabilities and money: the ESMM product and the zero-inflated log-normal.

ctcvr = ctr * cvr, supervised on every impression, so that cvr is not learned on clicked rows alone
(Ma et al. 2018, Entire Space Multi-Task Model, equation 4). Order value: log v ~ Normal(mu, sigma^2) given an order,
so E[v | order] = exp(mu + sigma^2 / 2), and E[v | shown] = ctcvr * E[v | order]; the zero inflation of the impression
is ctcvr itself (Wang et al. 2019, A Deep Probabilistic Model for Customer Lifetime Value Prediction, equation 3).
"""

from __future__ import annotations

from dataclasses import dataclass

from features.keras2 import tensorflow as tf

SIGMA = (0.05, 2.0)  # deviations of log value that the head may claim


@dataclass(frozen=True)
class Logits:
    """What the network says of N rows, each float32 [N]; `click` is None in purchase-only mode.

    `order` is the logit of cvr, or of ctcvr in purchase-only mode; `mu`, `sigma` describe the log of order value.
    """

    click: tf.Tensor | None
    order: tf.Tensor
    mu: tf.Tensor
    sigma: tf.Tensor


def predictions(logits: Logits) -> dict[str, tf.Tensor]:
    """The heads, float32 [N] each."""
    value = tf.exp(logits.mu + tf.square(logits.sigma) / 2)
    if logits.click is None:
        return {"ctcvr": tf.sigmoid(logits.order), "order_value": value}
    return {"ctr": tf.sigmoid(logits.click), "cvr": tf.sigmoid(logits.order), "order_value": value}


def log_ctcvr(logits: Logits) -> tf.Tensor:
    """log P(order | shown), float32 [N]."""
    if logits.click is None:
        return tf.math.log_sigmoid(logits.order)
    return tf.math.log_sigmoid(logits.click) + tf.math.log_sigmoid(logits.order)
