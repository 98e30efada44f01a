"""Examined clicks: relevance learned from clicks that count by the inverse of P(examined), ipw and dla.

Conventions: y = what was recorded of an item shown (click, cart, order), e = P(examined) of its place relative to the
first, given; sigma(r) = the head's probability; least = `training.least_examination`.

    target   t = y / e                     E[t] = P(y | examined) where e is right, so that its cross-entropy
                                           -(t log sigma(r) + (1 - t) log(1 - sigma(r))) is unbiased for relevance
    weight   min(1, e / least)             what hardly anyone examined tells little: no y counts above 1 / least
    ipw      e of `RankingData.examination`, estimated from the log (`evaluation.bias`)
    dla      e of the position tower, learned beside it from y / max(sigma(r), LEAST), sigma(r) given: E = P(examined)

Where held-out requests are measured, the likelihood of y at its place is, which varies less.
Sources: Joachims et al. 2017, Unbiased Learning-to-Rank with Biased Feedback; Saito et al. 2020, Unbiased Recommender
Learning from Missing-Not-At-Random Implicit Feedback, equation 7 (pointwise); Ai et al. 2018, Unbiased Learning to Rank
with Unbiased Propensity Estimation (dual learning; here pointwise, since heads are probabilities).
"""

from __future__ import annotations

from features.keras2 import tensorflow as tf
from marketplace.heads import heads_of
from value_model.rankers.logits import Logits, product_logit, share_logit
from value_model.rankers.row_means import RowMean, row_mean

LEAST = 0.01  # the relevance of what is clicked is taken to be no less where examination is learned
FAINTEST = 1e-3  # P(examined) is taken to be no less


def at_places(logits: Logits, examination: tf.Tensor) -> Logits:
    """Logits of what is recorded where P(examined) is `examination` float32 [N], from those of relevance."""
    examined = share_logit(examination)
    events = {
        head.name: logits.events[head.name] if head.after_event else product_logit(logits.events[head.name], examined)
        for head in heads_of(logits.events)
    }
    return Logits(events, logits.amounts)


def examination_loss(
    tower: tf.Tensor,
    relevance: tf.Tensor,
    recorded: tf.Tensor,
    *,
    position: tf.Tensor,
    weight: tf.Tensor,
    mean: RowMean = row_mean,
) -> tf.Tensor:
    """dla's loss of the tower's logits [N], from what was `recorded` (NaN = not known) and logits of relevance."""
    counted = tf.where(tf.math.is_nan(recorded) | (position == 0), 0.0, weight)
    target = tf.where(counted > 0, recorded, 0.0) / tf.stop_gradient(tf.maximum(tf.sigmoid(relevance), LEAST))
    loss = tf.nn.sigmoid_cross_entropy_with_logits(labels=target, logits=tower)
    return mean(loss, counted)
