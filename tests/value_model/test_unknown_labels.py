"""A label that is not known yet (NaN) teaches nothing and judges nothing: as if its rows were not there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ranking_market import SIZES, SPEC, market

from evaluation.compare import evaluate_ranker
from features.keras2 import tensorflow as tf
from marketplace.heads import HEADS
from value_model.rankers.batches import request_offsets, take
from value_model.rankers.calibration import fit_calibration
from value_model.rankers.config import NetworkConfig, TreesConfig
from value_model.rankers.losses import pointwise
from value_model.rankers.network_ranker import NetworkRanker
from value_model.rankers.ranking_losses import ranking_loss, ranking_losses
from value_model.rankers.trees import Trees

CONFIG = TreesConfig(trees=20, leaves=7, learning_rate=0.1, min_rows=20, categories=10)
ORDERS = ("order", "order_value")


@pytest.fixture(scope="module")
def parts():
    """(all requests, the last quarter's orders unknown; the first three quarters alone)."""
    whole = market(np.random.default_rng(0), requests=400).data
    young = whole.inputs.request >= 300
    labels = {n: np.where(young & (n in ORDERS), np.nan, v).astype(np.float32) for n, v in whole.labels.items()}
    return replace(whole, labels=labels), take(
        whole, np.arange(300), offsets=request_offsets(whole.inputs.request, 400)
    )


def test_orders_are_learned_and_calibrated_as_without_the_young_requests(parts):
    data = parts[0]
    trees, reference = (Trees.fit(one, spec=SPEC, config=CONFIG) for one in parts)
    for head in ("cvr", "order_value"):
        np.testing.assert_array_equal(trees.score(data.inputs, head), reference.score(data.inputs, head))
    fits = [fit_calibration(trees.predict(one.inputs), one).heads for one in parts]
    assert all(fits[0][head] == fits[1][head] for head in ("cvr", "order_value"))
    heads = [head for head in HEADS if head.name in ("ctr", "cvr", "order_value")]
    networks = [
        NetworkRanker(SPEC, SIZES, config=NetworkConfig(), heads=heads, rng=np.random.default_rng(1)) for _ in parts
    ]
    for network, one in zip(networks, parts, strict=True):
        network.network.adapt(one)
    assert networks[0].network.last_bias.numpy()[1] == networks[1].network.last_bias.numpy()[1]


def test_losses_are_those_of_the_rows_that_are_known(parts):
    losses = []
    for data in parts:
        heads = [head for head in HEADS if head.name in ("ctr", "cvr", "order_value")]
        ranker = NetworkRanker(SPEC, SIZES, config=NetworkConfig(), heads=heads, rng=np.random.default_rng(1))
        network, inputs = ranker.network, data.inputs
        user = network.user_part(*map(tf.constant, (inputs.user_codes, inputs.user_lists, inputs.user_numbers)))
        item = network.item_part(*map(tf.constant, (inputs.item_codes, inputs.item_lists, inputs.item_numbers)))
        logits = network.join(user, item, inputs.cross_codes, tf.constant(inputs.cross_numbers), inputs.request)
        labels = {name: tf.constant(values) for name, values in data.labels.items()}
        lists = ranking_losses("softmax", ranking_loss("softmax"), logits, labels, request=inputs.request)
        losses.append(pointwise(logits, labels, weight=tf.constant(data.weight)) | lists)
    for name in ("cvr", "ctcvr", "order_value"):
        assert float(losses[0][name]) == pytest.approx(float(losses[1][name]), rel=1e-5)
    assert np.isfinite([float(loss) for loss in losses[0].values()]).all()


def test_metrics_of_orders_are_those_of_the_settled_requests(parts):
    measured = []
    for data in parts:
        heads = {"cvr": np.full(len(data.weight), 0.4), "value": data.inputs.cross_numbers[:, 1].astype(np.float64)}
        offsets = request_offsets(data.inputs.request, len(data.inputs.user_codes))
        measured.append(evaluate_ranker(heads, data.labels, offsets, rng=np.random.default_rng(0), replicates=10))
    for name in ("cvr.calibration_ratio", "value.order_ndcg@10", "value.order_mrr"):
        assert measured[0][name].value == pytest.approx(measured[1][name].value)
        assert measured[0][name].n == measured[1][name].n
