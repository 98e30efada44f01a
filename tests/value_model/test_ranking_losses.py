"""Ranking objectives: the arithmetic of a small list, and finite losses and gradients on long lists far apart."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from features.keras2 import tensorflow as tf
from features.keras2 import tensorflow_ranking
from value_model.rankers.logits import Logits
from value_model.rankers.ranking_losses import list_mle, ranking_loss, ranking_losses

OBJECTIVES = ("ranknet", "lambdarank", "softmax", "approx_ndcg", "list_mle")
SCORE, LABEL = np.array([0.3, -0.5, 1.2, 0.1]), np.array([1.0, 0.0, 0.0, 2.0])


def loss_of(objective: str, label, score, request=None) -> float:  # type: ignore[no-untyped-def]
    columns = (tf.constant(values, tf.float32) for values in (label, score))
    return float(ranking_loss(objective)(*columns, tf.constant(request or [0] * len(label)), None))


def test_softmax_is_its_arithmetic_over_the_learned_rates_of_an_impression() -> None:
    """One list of three, scores 0, 0, log 2, the last one clicked: -log(2 / 4); ctcvr is scored by its log P."""
    score = tf.constant([0.0, 0.0, np.log(2.0)], tf.float32)
    event, request = tf.constant([0.0, 0.0, 1.0]), tf.constant([0, 0, 0])
    logits = Logits({"ctr": score, "cvr": score}, {})
    labels = {"click": event, "order": event}
    listed = ranking_losses("softmax", ranking_loss("softmax"), logits, labels, request=request)
    assert set(listed) == {"ctr softmax", "ctcvr softmax"}
    assert float(listed["ctr softmax"]) == pytest.approx(np.log(2), abs=1e-5)
    assert float(listed["ctcvr softmax"]) == pytest.approx(np.log((2 / 4 + 4 / 9) / (4 / 9)), abs=1e-5)


def pair_losses(weight) -> list[float]:  # type: ignore[no-untyped-def]
    losses = []
    for pair in combinations(range(4), 2):
        better, worse = sorted(pair, key=lambda i: -LABEL[i])
        if LABEL[better] > LABEL[worse]:
            losses.append(weight(better, worse) * np.log1p(np.exp(SCORE[worse] - SCORE[better])))
    return losses


def test_ranknet_is_the_logistic_loss_of_every_pair() -> None:
    expected = pair_losses(lambda better, worse: 1.0)
    assert loss_of("ranknet", LABEL, SCORE) == pytest.approx(np.mean(expected), rel=1e-4)


def test_lambdarank_weighs_a_pair_by_what_swapping_it_changes_in_ndcg() -> None:
    rank = np.argsort(np.argsort(-SCORE)) + 1
    ideal = sum((2**gain - 1) / np.log2(1 + k) for k, gain in enumerate(sorted(LABEL)[::-1], start=1))

    def swap(better: int, worse: int) -> float:
        gains = abs(2.0 ** LABEL[better] - 2.0 ** LABEL[worse])
        return gains * abs(1 / np.log2(1 + rank[better]) - 1 / np.log2(1 + rank[worse])) / ideal

    assert loss_of("lambdarank", LABEL, SCORE) == pytest.approx(np.sum(pair_losses(swap)), rel=1e-3)


def test_approx_ndcg_approaches_ndcg_where_scores_are_far_apart() -> None:
    gains = [(2 ** LABEL[i] - 1) for i in np.argsort(-SCORE)]
    ndcg = sum(g / np.log2(1 + k) for k, g in enumerate(gains, start=1))
    ndcg /= sum(g / np.log2(1 + k) for k, g in enumerate(sorted(gains)[::-1], start=1))
    assert loss_of("approx_ndcg", LABEL, 1000 * SCORE) == pytest.approx(-ndcg, rel=1e-3)


def test_list_mle_is_the_plackett_luce_likelihood_of_the_labels_order() -> None:
    order, labels = [3, 0, 2, 1], np.array([2.0, 0.0, 1.0, 3.0])  # no ties
    strength = np.exp(SCORE)
    log_likelihood = sum(np.log(strength[i] / strength[order[k:]].sum()) for k, i in enumerate(order))
    ours = loss_of("list_mle", labels, SCORE)
    assert ours == pytest.approx(-log_likelihood / 4, rel=1e-5)
    theirs = tensorflow_ranking().keras.losses.ListMLELoss()(labels[None], SCORE[None].astype(np.float32))
    assert 4 * ours == pytest.approx(float(theirs), rel=1e-5)
    two = loss_of("list_mle", [*labels, 1, 1, -1], [*SCORE, 5, -5, 9], [0, 0, 0, 0, 1, 1, 1])
    assert two == pytest.approx(ours / 2, rel=1e-5)  # a list without an order says nothing, nor does an unknown label


def test_equal_labels_stand_in_an_order_that_the_seed_draws() -> None:
    label, score, request = tf.constant([1.0, 1.0, 0.0, 0.0]), tf.constant([0.0, 3.0, 1.0, 2.0]), tf.zeros(4, tf.int32)
    drawn = {float(list_mle(label, score, request, tf.constant([0, seed]))) for seed in range(12)}
    assert 1 < len(drawn) <= 4
    assert float(list_mle(label, score, request, tf.constant([0, 1]))) in drawn


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_rows_that_are_not_known_are_left_out(objective: str) -> None:
    label, score, request = [1, 0, -1, 0, 1, -1, -1], [0.3, -1, 9, 1, 2, -9, 4], [0, 0, 0, 1, 1, 1, 2]
    kept = [0, 1, 3, 4]
    expected = loss_of(objective, *([values[i] for i in kept] for values in (label, score)), [0, 0, 1, 1])
    lists = {"softmax": 3, "approx_ndcg": 3, "list_mle": 3, "lambdarank": 3}.get(objective, 2)  # a mean over lists
    assert loss_of(objective, label, score, request) == pytest.approx(expected * 2 / lists, rel=1e-4)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("scale", [1e2, 1e6])
def test_losses_and_gradients_are_finite_on_long_lists_far_apart(objective: str, scale: float) -> None:
    rng = np.random.default_rng(0)
    request = tf.constant(np.repeat([0, 1, 2], 1000))
    score = tf.Variable((scale * rng.normal(size=3000)).astype(np.float32))
    label = (rng.random(3000) < 0.01).astype(np.float32)
    label[1000:2000], label[2000:2200], label[2990:] = 0, -1, -1  # a list without an event; rows that are not known
    with tf.GradientTape() as tape:
        loss = ranking_loss(objective)(tf.constant(label), score, request, tf.constant([1, 2]))
    gradient = tf.convert_to_tensor(tape.gradient(loss, score)).numpy()
    assert np.isfinite(float(loss))
    assert np.isfinite(gradient).all()
    assert np.abs(gradient[:1000]).max() > 0 or objective == "approx_ndcg"  # flat where every rank is certain
    assert np.abs(gradient[1000:2200]).max() == pytest.approx(0, abs=1e-6)
