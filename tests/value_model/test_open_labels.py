"""Rows whose window is open teach by what is recorded of them, as likely as delays make it, and never as "no order"."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ranking_market import market

from features.keras2 import tensorflow as tf
from marketplace.heads import head_of
from value_model.rankers.batches import request_offsets, take
from value_model.rankers.logits import Logits
from value_model.rankers.losses import come_by, entropy, pointwise
from value_model.rankers.ranker import OpenLabel
from value_model.rankers.training import COME, LABEL, SO_FAR, tensors

ROWS = 200_000


def logit(p: float | np.ndarray) -> tf.Tensor:
    return tf.constant(np.log(p) - np.log1p(-np.asarray(p)), tf.float32)


@pytest.mark.parametrize(("head", "kept"), [("cvr", False), ("kept", True)])
def test_the_loss_is_least_at_the_truth_however_little_has_come(head, kept):
    """Orders come over time; of kept orders, returns do."""
    rng = np.random.default_rng(0)
    truth, share = 0.3, rng.uniform(0, 1, ROWS).astype(np.float32)
    happens = rng.random(ROWS) < (1 - truth if kept else truth)  # the return, or the order
    come = happens & (rng.random(ROWS) < share)
    recorded = tf.constant((~come if kept else come).astype(np.float32))
    condition = head_of(head).condition
    labels = {head_of(head).label: recorded, condition: tf.ones(ROWS), "click": tf.ones(ROWS)}

    def loss(p: float, come: dict[str, tf.Tensor]) -> float:
        logits = Logits({"ctr": tf.zeros(ROWS), head: tf.fill([ROWS], logit(p))}, {})
        return float(pointwise(logits, labels, weight=tf.ones(ROWS), come=come)[head])

    counted = {head_of(head).label: tf.constant(share)}
    assert loss(truth, counted) < min(loss(truth - 0.02, counted), loss(truth + 0.02, counted))
    naive = float(tf.reduce_mean(recorded))
    assert abs(naive - truth) > 0.1
    assert loss(naive, {}) < loss(truth, {})


def test_the_likelihood_of_what_is_recorded_is_that_of_the_event_times_what_has_come():
    logits = Logits({"ctr": logit(np.array([0.5, 0.5])), "cvr": logit(np.array([0.4, 0.4]))}, {})
    event, come = tf.constant([1.0, 0.0]), tf.constant([0.25, 0.25])
    np.testing.assert_allclose(entropy(logits, "cvr", event, come=come), [-np.log(0.1), -np.log(0.9)], rtol=1e-5)
    np.testing.assert_allclose(entropy(logits, "ctcvr", event, come=come), [-np.log(0.05), -np.log(0.95)], rtol=1e-5)
    whole = entropy(logits, "cvr", event, come=tf.ones(2))
    np.testing.assert_allclose(whole, entropy(logits, "cvr", event), rtol=1e-4)


def test_an_order_that_followed_a_click_has_had_the_time_of_the_click():
    come = {"order": tf.constant([0.2, 0.9]), "click": tf.constant([0.8, 0.9])}
    np.testing.assert_allclose(come_by(head_of("cvr"), come), [0.25, 1.0])
    np.testing.assert_allclose(come_by(head_of("ctcvr"), come), [0.2, 0.9])
    assert come_by(head_of("cvr"), {}) is None


def test_known_rows_count_as_known_and_open_ones_as_recorded():
    data = market(np.random.default_rng(0), requests=4).data
    recorded, young = data.labels["order"], data.inputs.request >= 2
    order = np.where(young, np.nan, recorded).astype(np.float32)
    share = np.linspace(0, 0.5, len(order), dtype=np.float32)
    data = replace(data, labels={**data.labels, "order": order}, open={"order": OpenLabel(recorded, share)})
    part = take(data, np.array([3, 0]), offsets=request_offsets(data.inputs.request, 4))
    row = tensors(part, np.zeros(2, bool))
    rows = np.concatenate([np.arange(24, 32), np.arange(8)])
    np.testing.assert_array_equal(row[SO_FAR + "order"], recorded[rows])
    np.testing.assert_array_equal(row[COME + "order"], np.where(young, share, 1)[rows])
    np.testing.assert_array_equal(row[LABEL + "order"], order[rows])
