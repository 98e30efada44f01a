"""Ranking objectives: losses over each request's rows beside the pointwise ones, which keep predictions probabilities.

    ranknet       sum over pairs (i better than j) of log(1 + exp(s_j - s_i))            Burges et al. 2005
    lambdarank    the same, each pair times what swapping it changes in NDCG             Burges 2010; Wang et al. 2018
    softmax       -sum_i y_i log softmax(s)_i                                            Cao et al. 2007 (ListNet)
    approx_ndcg   -NDCG with ranks 1 + sum_j sigmoid((s_j - s_i) / t)                    Qin et al. 2010
    list_mle      -log P(the labels' order | s) under Plackett-Luce, per row             Xia et al. 2008

s: the logit of a rate, log P of a product. All but list_mle are TF-Ranking's; its list_mle takes the logarithm of sums
that underflow where logits are far apart, and draws the order of equal labels from a state that resuming would lose.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from features.keras2 import tensorflow as tf
from features.keras2 import tensorflow_ranking
from marketplace.heads import per_impression
from value_model.rankers.logits import Logits, log_probability
from value_model.rankers.losses import trained_heads

RankingLoss = Callable[[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor | None], tf.Tensor]

TF_RANKING = {
    "ranknet": "pairwise_logistic_loss",
    "lambdarank": "pairwise_logistic_loss",
    "softmax": "softmax_loss",
    "approx_ndcg": "approx_ndcg_loss",
}
FAR_BELOW = -1e30  # the score of what stands in no list: exp of it is 0, and so is its gradient


def ranking_loss(objective: str) -> RankingLoss:
    """(label, score, request, seed) -> the mean over lists; `label` float32 [N], below 0 = not known, left out."""
    if objective == "list_mle":
        return list_mle
    losses = tensorflow_ranking().keras.losses
    weight = losses.NDCGLambdaWeight() if objective == "lambdarank" else None
    loss: Any = losses.get(TF_RANKING[objective], lambda_weight=weight, ragged=True)
    return lambda label, score, request, seed: loss(ragged(label, request), ragged(score, request))


def ranking_losses(
    objective: str,
    loss: RankingLoss,
    logits: Logits,
    labels: Mapping[str, tf.Tensor],
    *,
    request: tf.Tensor,
    seed: tf.Tensor | None = None,
) -> dict[str, tf.Tensor]:
    """`loss` of every learned rate of an impression, and of every product that is one: "<head> <objective>"."""
    losses = {}
    for head in per_impression([head.name for head in trained_heads(logits.events)]):
        score = logits.events[head.name] if head.is_rate else log_probability(logits, head.name)
        label = labels[head.label]
        known = tf.where(tf.math.is_nan(label), -tf.ones_like(label), label)
        losses[f"{head.name} {objective}"] = loss(known, score, request, seed)
    return losses


def list_mle(label: tf.Tensor, score: tf.Tensor, request: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
    """-sum_i log(exp(s_i) / sum over j from i on of exp(s_j)) / rows, in the labels' order; the mean over lists.

    Rows of equal labels stand in an order that the seed draws. Lists whose labels are all equal have no order: 0.
    """
    drawn = tf.random.stateless_uniform(tf.shape(label), seed=tf.zeros([2], tf.int32) if seed is None else seed)
    labels, scores = ragged(label, request).to_tensor(-1.0), ragged(score, request).to_tensor()
    known = labels >= 0
    ordered = tf.reduce_max(labels, axis=1) > tf.reduce_min(tf.where(known, labels, labels.dtype.max), axis=1)
    drawn = tf.where(known, labels + ragged(drawn, request).to_tensor() / 2, -1.0)
    order = tf.argsort(drawn, axis=1, direction="DESCENDING")
    scores, known = (tf.gather(values, order, axis=1, batch_dims=1) for values in (scores, known))
    after = tf.math.cumulative_logsumexp(tf.where(known, scores, FAR_BELOW), axis=1, reverse=True)
    gaps = tf.reduce_sum(tf.where(known, after - scores, 0.0), axis=1)
    rows = tf.maximum(tf.reduce_sum(tf.cast(known, tf.float32), axis=1), 1.0)
    return tf.reduce_mean(tf.where(ordered, gaps / rows, 0.0))


def ragged(values: tf.Tensor, request: tf.Tensor) -> tf.RaggedTensor:
    """Rows [N], sorted by request, as one ragged row a request."""
    return tf.RaggedTensor.from_value_rowids(values, tf.cast(request, tf.int64), validate=False)
