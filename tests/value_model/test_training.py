"""Training: the losses' stated starts, early stopping, resume, and options that do what they say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ranking_market import CLICKS, PURCHASES, SIZES, SPEC, market, purchases

from features.encoder import Encoder
from features.grown_tables import grown_tables
from features.keras2 import tensorflow as tf
from marketplace.heads import learned_heads
from value_model.rankers.batches import batches, request_offsets, take
from value_model.rankers.config import NetworkConfig, TrainingConfig
from value_model.rankers.lazy_adam import LazyAdam
from value_model.rankers.network_ranker import NetworkRanker
from value_model.rankers.ranker import RankingData
from value_model.rankers.training import Fitting, ended_heads, fit

SMALL = NetworkConfig(embedding=4, bins=4, experts=2, expert_units=(8, 8), tower_units=4, dropout=0.1, positions=8)
CONFIG = TrainingConfig(epochs=4, batch_requests=32, learning_rate=5e-3)


def ranker(*, click: bool = True) -> NetworkRanker:
    heads = learned_heads(CLICKS if click else PURCHASES)
    return NetworkRanker(SPEC, SIZES, config=SMALL, heads=heads, rng=np.random.default_rng(0))


@pytest.fixture(scope="module")
def data() -> RankingData:
    return market(np.random.default_rng(0), requests=200, examined=True).data


@pytest.fixture(scope="module")
def later() -> RankingData:
    return market(np.random.default_rng(1), requests=60, examined=True).data


def trained(
    data: RankingData, later: RankingData, config: TrainingConfig, checkpoint: Path | None = None
) -> NetworkRanker:
    model = ranker()
    fit(model, data, later, config=config, rng=np.random.default_rng(5), checkpoint=checkpoint, progress=False)
    return model


def test_losses_start_where_they_say(data: RankingData) -> None:
    model = ranker()
    start = Fitting(model, config=CONFIG, seed=0).evaluate(data)
    order = data.labels["order"].mean()
    assert start["ctr"] == pytest.approx(np.log(2), abs=1e-4)
    assert start["ctcvr"] == pytest.approx((1 - order) * 0.288 + order * 1.386, abs=1e-3)
    assert Fitting(ranker(click=False), config=CONFIG, seed=0).evaluate(purchases(data))["ctcvr"] == pytest.approx(
        np.log(2), abs=1e-4
    )


def test_after_adapting_the_losses_start_at_the_positions_own_entropy(data: RankingData) -> None:
    model = ranker()
    model.network.adapt(data)
    start = Fitting(model, config=CONFIG, seed=0).evaluate(data)
    rates = [data.labels["click"][data.position == place].mean() for place in range(1, 9)]
    entropy = np.mean([-p * np.log(p) - (1 - p) * np.log1p(-p) for p in rates])
    assert start["ctr"] == pytest.approx(entropy, abs=5e-3)
    paid = np.log(data.labels["order_value"][data.labels["order"] > 0])
    assert start["order_value"] == pytest.approx(1.419 + np.log(paid.std()), abs=0.02)


@pytest.mark.slow
def test_resuming_gives_what_an_uninterrupted_run_gives(data: RankingData, later: RankingData, tmp_path: Path) -> None:
    whole = trained(data, later, CONFIG)
    half = tmp_path / "run.npz"
    trained(data, later, replace(CONFIG, epochs=2), half)
    resumed = trained(data, later, CONFIG, half)
    for name, weight in whole.weights().items():
        np.testing.assert_array_equal(resumed.weights()[name], weight, err_msg=name)


@pytest.mark.slow
def test_with_every_id_hidden_an_epoch_is_that_of_data_without_ids(data: RankingData) -> None:
    unknown = replace(data, inputs=replace(data.inputs, item_codes=np.ones_like(data.inputs.item_codes)))
    ends = []
    for rows, share in ((data, 1.0), (unknown, 0.0)):
        model = ranker()
        Fitting(model, config=replace(CONFIG, id_dropout=share), seed=0).epoch(rows, 0, rate=1e-2)
        ends.append(model.weights())
    for name, weight in ends[0].items():
        np.testing.assert_array_equal(weight, ends[1][name], err_msg=name)


@pytest.mark.slow
def test_going_on_after_saving_and_growing_is_going_on(data: RankingData, later: RankingData, tmp_path: Path) -> None:
    """New names behind the old ones change nothing: not a known item's prediction, not what further days teach."""
    days = market(np.random.default_rng(2), requests=100, examined=True).data
    short = replace(CONFIG, epochs=1)
    first = trained(data, later, short)
    first.save(tmp_path)
    items = tuple(f"item {code}" for code in range(2, SIZES["item"]))
    segments = tuple(f"segment {code}" for code in range(2, SIZES["segment"]))
    before = Encoder(SPEC, {"segment": segments, "item": items})
    now = before.grown(Encoder(SPEC, {"segment": (), "item": ("new", *items)}))
    grown = NetworkRanker(SPEC, now.sizes, config=SMALL, heads=learned_heads(CLICKS), rng=np.random.default_rng(9))
    grown.set_weights(grown_tables(NetworkRanker.load(tmp_path).weights(), before, now))
    unknown, new = (replace(later.inputs, item_codes=np.full_like(later.inputs.item_codes, code)) for code in (1, 40))
    np.testing.assert_array_equal(grown.predict(later.inputs)["ctr"], first.predict(later.inputs)["ctr"])
    np.testing.assert_array_equal(grown.predict(new)["ctr"], first.predict(unknown)["ctr"])
    histories = [
        fit(one, days, later, config=short, rng=np.random.default_rng(3), progress=False, anew=False)
        for one in (first, grown)
    ]
    assert histories[0].held_out == histories[1].held_out
    assert len(histories[0].held_out) == 2  # as it stood, and after the epoch
    np.testing.assert_array_equal(grown.predict(later.inputs)["ctr"], first.predict(later.inputs)["ctr"])


def test_early_stopping_keeps_the_best_epoch_and_ends(data: RankingData, later: RankingData) -> None:
    model = ranker()
    config = TrainingConfig(epochs=60, patience=2, batch_requests=16, learning_rate=2e-2, slow_down=1.0)
    history = fit(model, data, later, config=config, rng=np.random.default_rng(0), progress=False)
    assert len(history.train) == history.best + config.patience + 1 < config.epochs
    kept = Fitting(model, config=config, seed=0).evaluate(later)
    assert kept["ctr"] == pytest.approx(history.held_out[history.best]["ctr"], abs=1e-5)


def test_a_head_that_got_no_better_for_its_patience_is_ended_for_good() -> None:
    losses = [{"ctr": ctr, "order_value": value} for ctr, value in ((3, 2), (2, 1), (2, 3), (1, 4), (0.9, 0.5))]
    assert ended_heads(losses[:3], patience=2) == frozenset()
    assert ended_heads(losses[:4], patience=1) == {"order_value"}
    assert ended_heads(losses, patience=1) == {"order_value"}  # also where it is the lowest again
    assert ended_heads([], patience=1) == frozenset()


def test_an_ended_head_is_learned_no_further_while_others_are(data: RankingData) -> None:
    fitting = Fitting(ranker(), config=CONFIG, seed=0)
    fitting.ranker.network.adapt(data)
    start = fitting.ranker.network.last.numpy()
    fitting.epoch(data, 0, rate=5e-3, ended=frozenset({"order_value"}))
    learned = np.abs(fitting.ranker.network.last.numpy() - start).max(axis=0)
    assert learned[:2].min() > 0
    assert learned[2] == 0


@pytest.mark.slow
def test_fixed_weights_scale_a_head_and_uncertainty_learns_its_weights(data: RankingData, later: RankingData) -> None:
    without = trained(data, later, replace(CONFIG, value_weight=0.0))
    np.testing.assert_allclose(without.network.last.numpy()[:, 2], 0)
    fitting = Fitting(ranker(), config=replace(CONFIG, loss_weights="uncertainty"), seed=0)
    fitting.ranker.network.adapt(data)
    for epoch in range(5):
        fitting.epoch(data, epoch, rate=2e-2)
    spread = fitting.spread.numpy()
    assert spread[1] < spread[0] < spread[2]  # the noisier a loss (ctcvr < ctr < order_value), the less it counts


@pytest.mark.slow
def test_an_objective_of_lists_trains_beside_the_pointwise_losses(data: RankingData) -> None:
    fitting = Fitting(ranker(), config=replace(CONFIG, objective="softmax", objective_weight=1.0), seed=0)
    fitting.ranker.network.adapt(data)
    first = fitting.epoch(data, 0, rate=5e-3)
    for epoch in range(1, 5):
        last = fitting.epoch(data, epoch, rate=5e-3)
    assert last["ctr softmax"] < first["ctr softmax"]
    assert last["ctr"] < first["ctr"]


@pytest.mark.slow
@pytest.mark.parametrize("conversion", ["escm2_ips", "escm2_dr"])
def test_a_fit_with_a_loss_for_all_rows_resumes_to_the_same(
    data: RankingData, later: RankingData, tmp_path: Path, conversion: str
) -> None:
    config = replace(CONFIG, conversion=conversion, loss_weights="gradnorm", objective="list_mle", epochs=2)
    whole = trained(data, later, config)
    trained(data, later, replace(config, epochs=1), tmp_path / "run.npz")
    resumed = trained(data, later, config, tmp_path / "run.npz").weights()
    for name, weight in whole.weights().items():
        np.testing.assert_allclose(resumed[name], weight, rtol=1e-3, atol=1e-4, err_msg=name)


@pytest.mark.slow
def test_hidden_positions_teach_what_unknown_means(data: RankingData, later: RankingData) -> None:
    hidden = trained(data, later, replace(CONFIG, position_dropout=1.0))
    assert not np.allclose(hidden.network.position.bias.numpy()[0], 0)
    shown = trained(data, later, CONFIG)
    np.testing.assert_allclose(shown.network.position.bias.numpy()[0], 0)


def test_batches_hold_whole_requests_once_and_aligned(data: RankingData) -> None:
    seen = []
    for batch in batches(data, size=48, rng=np.random.default_rng(0)):
        assert len(batch.inputs.request) == 8 * len(batch.inputs.user_codes)
        seen.append(np.column_stack([batch.inputs.user_numbers[batch.inputs.request, 0], batch.labels["order_value"]]))
    every = np.column_stack([data.inputs.user_numbers[data.inputs.request, 0], data.labels["order_value"]])
    np.testing.assert_array_equal(np.unique(np.concatenate(seen), axis=0), np.unique(every, axis=0))
    assert sum(map(len, seen)) == len(every)


def test_rows_out_of_order_are_refused(data: RankingData) -> None:
    with pytest.raises(ValueError, match="sorted by request"):
        request_offsets(data.inputs.request[::-1], 200)


def test_taken_requests_keep_their_rows(data: RankingData) -> None:
    offsets = request_offsets(data.inputs.request, 200)
    some = take(data, np.array([7, 3]), offsets=offsets)
    rows = np.concatenate([np.arange(56, 64), np.arange(24, 32)])
    np.testing.assert_array_equal(some.labels["click"], data.labels["click"][rows])
    np.testing.assert_array_equal(some.inputs.item_codes, data.inputs.item_codes[rows])
    np.testing.assert_array_equal(some.inputs.request, np.repeat([0, 1], 8))


def test_lazy_adam_is_adam_on_dense_weights_and_leaves_absent_rows_alone() -> None:
    dense, table = tf.Variable([[1.0, -2.0]]), tf.Variable(tf.ones([3, 2]))
    slow_w, slow_m, slow_v = np.array([[1.0, -2.0]]), 0.0, 0.0
    ours = LazyAdam([dense, table], decay=0.0)
    for step in range(1, 6):
        gradient = np.array([[0.5, -0.1]]) * step
        rows = tf.IndexedSlices(tf.constant([[0.1, 0.2], [0.3, 0.4]]), tf.constant([1, 1]))
        ours.apply([tf.constant(gradient, tf.float32), rows], [dense, table], tf.constant(0.01))
        slow_m, slow_v = 0.9 * slow_m + 0.1 * gradient, 0.999 * slow_v + 0.001 * gradient**2
        slow_w = slow_w - 0.01 * (slow_m / (1 - 0.9**step)) / (np.sqrt(slow_v / (1 - 0.999**step)) + 1e-7)
    np.testing.assert_allclose(dense.numpy(), slow_w, rtol=1e-4)
    np.testing.assert_array_equal(table.numpy()[[0, 2]], 1)
    np.testing.assert_allclose(table.numpy()[1], 1 - 0.05, rtol=1e-3)  # equal gradients: a rate's step each time
