"""What the network is trained on, each a mean over its rows so that batch size does not change its scale.

Before training, with all logits zero: ctr log 2 = 0.693; ctcvr (a product of two halves) 0.288 on a row without an
order and 1.386 on one with; purchase-only ctcvr 0.693. order_value is the negative log likelihood of log value:
1.419 + log(deviation of log value in training), if these are Normal.

ctcvr on all rows supervises cvr without selecting rows by their click, but hardly tells a click without an order from
no click. The optional loss "cvr" on clicked rows completes the joint likelihood P(click) P(order | click): it learns
more from the same rows, and is unbiased as far as the features explain what was clicked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from features.keras2 import tensorflow as tf
from features.keras2 import tensorflow_ranking
from value_model.rankers.heads import Logits, log_ctcvr

TINY = 1e-7
RankingLoss = Callable[[tf.RaggedTensor, tf.RaggedTensor], tf.Tensor]


def pointwise(
    logits: Logits, *, click: tf.Tensor | None, order: tf.Tensor, order_value: tf.Tensor, weight: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Weighted means: ctr and ctcvr over all rows, cvr over clicked rows, order_value over ordered rows."""
    mean = tf.maximum(tf.reduce_sum(weight), TINY)
    losses = {}
    if logits.click is not None and click is not None:
        entropy = tf.nn.sigmoid_cross_entropy_with_logits(labels=click, logits=logits.click)
        losses["ctr"] = tf.reduce_sum(weight * entropy) / mean
        clicked = weight * click
        failed = tf.nn.sigmoid_cross_entropy_with_logits(labels=order, logits=logits.order)
        losses["cvr"] = tf.reduce_sum(clicked * failed) / tf.maximum(tf.reduce_sum(clicked), TINY)
    losses["ctcvr"] = tf.reduce_sum(weight * order_entropy(logits, order)) / mean
    paid = weight * tf.cast(order_value > 0, tf.float32) * order
    likelihood = paid * log_normal(order_value, logits)
    losses["order_value"] = tf.reduce_sum(likelihood) / tf.maximum(tf.reduce_sum(paid), TINY)
    return losses


def order_entropy(logits: Logits, order: tf.Tensor) -> tf.Tensor:
    """-(y log p + (1 - y) log(1 - p)), p = ctcvr, float32 [N]."""
    if logits.click is None:
        return tf.nn.sigmoid_cross_entropy_with_logits(labels=order, logits=logits.order)
    log_p = log_ctcvr(logits)
    log_rest = tf.math.log(tf.maximum(-tf.math.expm1(log_p), TINY))
    return -(order * log_p + (1 - order) * log_rest)


def log_normal(order_value: tf.Tensor, logits: Logits) -> tf.Tensor:
    """-log density of log value, without the constant of its unit, float32 [N]; meaningful where value > 0."""
    log_value = tf.math.log(tf.where(order_value > 0, order_value, tf.ones_like(order_value)))
    z = (log_value - logits.mu) / logits.sigma
    return tf.square(z) / 2 + tf.math.log(logits.sigma) + 0.9189


def ranking_loss(name: str) -> RankingLoss:
    """TF-Ranking's loss `name` over ragged lists, as "softmax_loss"; ValueError for a name that it does not know."""
    return tensorflow_ranking().keras.losses.get(name, ragged=True)


def listwise(
    name: str,
    loss: RankingLoss,
    logits: Logits,
    *,
    click: tf.Tensor | None,
    order: tf.Tensor,
    request: tf.Tensor,
) -> dict[str, tf.Tensor]:
    """`loss` over each request's rows, on the click logit and on log ctcvr: one entry a head, "<head> <name>"."""
    pairs = {"ctcvr": (order, log_ctcvr(logits))}
    if logits.click is not None and click is not None:
        pairs["ctr"] = (click, logits.click)
    lists = {head: (ragged(labels, request), ragged(scores, request)) for head, (labels, scores) in pairs.items()}
    return {f"{head} {name}": loss(*both) for head, both in lists.items()}


def ragged(values: tf.Tensor, request: tf.Tensor) -> tf.RaggedTensor:
    """Rows [N], sorted by request, as one ragged row a request."""
    return tf.RaggedTensor.from_value_rowids(values, tf.cast(request, tf.int64), validate=False)


def total(
    losses: Mapping[str, tf.Tensor], weights: Mapping[str, float], log_variance: Mapping[str, tf.Tensor]
) -> tf.Tensor:
    """Sum of the losses, each times its weight (1 unless given), or exp(-s) loss + s / 2 where s is learned.

    Source: Kendall et al. 2018, Multi-Task Learning Using Uncertainty to Weigh Losses, equation 10.
    """
    learned = [tf.exp(-s) * losses[name] + s / 2 for name, s in log_variance.items() if name in losses]
    fixed = [weights.get(name, 1.0) * value for name, value in losses.items() if name not in log_variance]
    return tf.add_n(learned + fixed)
