"""What the network is trained on, each a mean over its rows so that batch size does not change its scale.

Before training, with all logits zero: a learned probability log 2 = 0.693 (ctr, purchase-only ctcvr); the product of
two, ctcvr, 0.288 on a row without an order and 1.386 on one with. order_value is the negative log likelihood of log
value: 1.419 + log(deviation of log value in training), if these are Normal.

ctcvr on all rows supervises cvr without selecting rows by their click, but hardly tells a click without an order from
no click. The optional loss "cvr" on clicked rows completes the joint likelihood P(click) P(order | click): it learns
more from the same rows, and is unbiased as far as the features explain what was clicked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from features.keras2 import tensorflow as tf
from marketplace.heads import Head, head_of, heads_of
from value_model.rankers.logits import Logits, LogNormal, log_probability, product_logit, share_logit
from value_model.rankers.row_means import TINY, RowMean, row_mean

KEPT = "kept_order"  # the label that an event, a return, ends
NOTHING_OPEN: Mapping[str, tf.Tensor] = {}
LabelTensors = Mapping[str, tf.Tensor]  # float32 [N] by name


def trained_heads(learned: Iterable[str]) -> tuple[Head, ...]:
    """The heads that have a loss: what is learned, and the products through which it is."""
    heads = heads_of(learned)
    return heads_of({head.name for head in heads} | {head.through for head in heads if head.through})


def pointwise(
    logits: Logits,
    labels: LabelTensors,
    *,
    weight: tf.Tensor,
    examination: tf.Tensor | None = None,
    least_examination: float = 1.0,
    come: LabelTensors = NOTHING_OPEN,
    mean: RowMean = row_mean,
) -> dict[str, tf.Tensor]:
    """Weighted means by head: cross-entropy of a probability, likelihood of an amount.

    Each over the rows where its condition holds and its label is known. `examination` float32 [N]: what is recorded of
    items shown counts by its inverse, and rows below `least_examination` for less
    (`value_model.rankers.examined_clicks`); None = as it is. `come`, by label that is as recorded so far: the share of
    its events that has come by now.
    """
    losses, known = {}, {name: tf.cast(~tf.math.is_nan(label), tf.float32) for name, label in labels.items()}
    labels = {name: tf.where(tf.math.is_nan(label), tf.zeros_like(label), label) for name, label in labels.items()}
    for head in trained_heads([*logits.events, *logits.amounts]):
        label, held = labels[head.label], weight * known[head.label]
        if head.condition is not None:
            held *= labels[head.condition]
        if head.name in logits.amounts:
            held *= tf.cast(label > 0, tf.float32)
            row = log_normal(label, logits.amounts[head.name])
        else:
            if examination is not None and not head.after_event:
                label, held = label / examination, held * tf.minimum(examination / least_examination, 1.0)
            row = entropy(logits, head.name, label, come=come_by(head, come))
        losses[head.name] = mean(row, held)
    return losses


def entropy(logits: Logits, name: str, event: tf.Tensor, *, come: tf.Tensor | None = None) -> tf.Tensor:
    """-(y log q + (1 - y) log(1 - q)), float32 [N], q = P(recorded): p of the head, or p x `come` where it is open.

    Of orders kept so far, what is still to come is a return: 1 - q = (1 - p) x come.
    """
    if name in logits.events:
        logit = logits.events[name]
        if come is not None and head_of(name).label == KEPT:
            logit = -product_logit(-logit, share_logit(come))
        elif come is not None:
            logit = product_logit(logit, share_logit(come))
        return tf.nn.sigmoid_cross_entropy_with_logits(labels=event, logits=logit)
    log_p = log_probability(logits, name) + (0.0 if come is None else tf.math.log(tf.maximum(come, TINY)))
    log_rest = tf.math.log(tf.maximum(-tf.math.expm1(log_p), TINY))
    return -(event * log_p + (1 - event) * log_rest)


def come_by(head: Head, come: LabelTensors) -> tf.Tensor | None:
    """P(the head's event is recorded by now | it comes, and what it is given has been recorded); None = known."""
    if head.label not in come:
        return None
    return tf.minimum(come[head.label] / tf.maximum(come.get(head.condition or "", 1.0), TINY), 1.0)


def log_normal(amount: tf.Tensor, expected: LogNormal) -> tf.Tensor:
    """-log density of the log amount, without the constant of its unit, float32 [N]; meaningful where amount > 0."""
    log_amount = tf.math.log(tf.where(amount > 0, amount, tf.ones_like(amount)))
    z = (log_amount - expected.mu) / expected.sigma
    return tf.square(z) / 2 + tf.math.log(expected.sigma) + 0.9189


def head_losses(
    losses: Mapping[str, tf.Tensor],
    weights: Mapping[str, float],
    log_variance: Mapping[str, tf.Tensor],
    counted: Mapping[str, tf.Tensor],
) -> dict[str, tf.Tensor]:
    """By head, the sum of its losses, each times its weight (else 1), or exp(-s) loss + s / 2 where s is learned.

    `counted`, by head: 1, or 0 for a head that is learned no further.
    Source: Kendall et al. 2018, Multi-Task Learning Using Uncertainty to Weigh Losses, equation 10.
    """
    terms = {name: weights.get(name, 1.0) * value for name, value in losses.items()}
    terms |= {name: tf.exp(-s) * losses[name] + s / 2 for name, s in log_variance.items() if name in losses}
    sums: dict[str, tf.Tensor] = {}
    for name, term in terms.items():
        head = name.split()[0]
        sums[head] = sums.get(head, 0.0) + counted[head] * term
    return sums
