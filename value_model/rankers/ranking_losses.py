"""Ranking objectives: losses over each request's rows beside the pointwise ones, which keep predictions probabilities.

    ranknet       log(1 + exp(s_j - s_i)), mean over pairs (i better than j)             Burges et al. 2005
    lambdarank    its sum over pairs, each times what swapping it changes in NDCG        Burges 2010, section 4
    softmax       -sum_i y_i log softmax(s)_i                                            Cao et al. 2007 (ListNet)
    approx_ndcg   -NDCG with ranks 1 + sum_j sigmoid((s_j - s_i) / t)                    Qin et al. 2010
    list_mle      -log P(the labels' order | s) under Plackett-Luce, per row             Xia et al. 2008

s: the logit of a rate, log P of a product; where nothing else is said, a mean over lists. All but list_mle are
TF-Ranking's; its list_mle takes the logarithm of sums that underflow where logits are far apart, and draws the order of
equal labels from a state that resuming would lose.
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

FAR_BELOW = -1e30  # the score of what stands in no list: exp of it is 0, and so is its gradient


def ranking_loss(objective: str) -> RankingLoss:
    """(label, score, request, seed) -> the loss; `label` float32 [N], below 0 = not known, left out."""
    if objective == "list_mle":
        return list_mle
    library = tensorflow_ranking().keras.losses
    if objective in ("ranknet", "lambdarank"):
        return pairwise(library, lambdas=objective == "lambdarank")
    loss = library.get(f"{objective}_loss")
    return lambda label, score, request, seed: loss(*lists(label, score, request))


def pairwise(library: Any, *, lambdas: bool) -> RankingLoss:
    """Pairs alike, as a mean over them; or with `lambdas` by what they change in NDCG, as a mean over lists."""
    weight = library.NDCGLambdaWeight(smooth_fraction=1.0) if lambdas else None
    loss = library.PairwiseLogisticLoss(reduction="sum", lambda_weight=weight)

    def mean(label: tf.Tensor, score: tf.Tensor, request: tf.Tensor, seed: tf.Tensor | None) -> tf.Tensor:
        labels, scores = lists(label, score, request)
        better = (labels[:, :, None] > labels[:, None, :]) & (labels[:, None, :] >= 0)
        # TF-Ranking multiplies its lambdas by the longest list's length.
        count = tf.size(labels) if lambdas else tf.math.count_nonzero(better, dtype=tf.int32)
        return loss(labels, scores) / tf.maximum(tf.cast(count, tf.float32), 1.0)

    return mean


def ranking_losses(
    objective: str,
    loss: RankingLoss,
    logits: Logits,
    labels: Mapping[str, tf.Tensor],
    *,
    request: tf.Tensor,
    seed: tf.Tensor | None = None,
    examination: tf.Tensor | None = None,
    least_examination: float = 1.0,
) -> dict[str, tf.Tensor]:
    """`loss` of every learned rate of an impression, and of every product that is one: "<head> <objective>".

    `examination` float32 [N]: labels count by its inverse, at most 1 / `least_examination`; None = as they are.
    """
    losses = {}
    for head in per_impression([head.name for head in trained_heads(logits.events)]):
        score = logits.events[head.name] if head.is_rate else log_probability(logits, head.name)
        label = labels[head.label]
        if examination is not None:
            label /= tf.maximum(examination, least_examination)
        known = tf.where(tf.math.is_nan(label), -tf.ones_like(label), label)
        losses[f"{head.name} {objective}"] = loss(known, score, request, seed)
    return losses


def list_mle(label: tf.Tensor, score: tf.Tensor, request: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
    """-sum_i log(exp(s_i) / sum over j from i on of exp(s_j)) / rows, in the labels' order; the mean over lists.

    Rows of equal labels stand in an order that the seed draws. Lists whose labels are all equal have no order: 0.
    """
    drawn = tf.random.stateless_uniform(tf.shape(label), seed=tf.zeros([2], tf.int32) if seed is None else seed)
    labels, scores = lists(label, score, request)
    known = labels >= 0
    ordered = tf.reduce_max(labels, axis=1) > tf.reduce_min(tf.where(known, labels, labels.dtype.max), axis=1)
    drawn = tf.where(known, labels + lists(label, drawn, request)[1] / 2, -1.0)
    order = tf.argsort(drawn, axis=1, direction="DESCENDING")
    scores, known = (tf.gather(values, order, axis=1, batch_dims=1) for values in (scores, known))
    after = tf.math.cumulative_logsumexp(tf.where(known, scores, FAR_BELOW), axis=1, reverse=True)
    gaps = tf.reduce_sum(tf.where(known, after - scores, 0.0), axis=1)
    rows = tf.maximum(tf.reduce_sum(tf.cast(known, tf.float32), axis=1), 1.0)
    return tf.reduce_mean(tf.where(ordered, gaps / rows, 0.0))


def lists(label: tf.Tensor, score: tf.Tensor, request: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Rows [N], sorted by request, as lists of one length, float32 [lists, longest] each; padded by labels of -1."""
    place = tf.cast(request, tf.int64)
    labels, scores = (tf.RaggedTensor.from_value_rowids(values, place, validate=False) for values in (label, score))
    return labels.to_tensor(-1.0), scores.to_tensor()
