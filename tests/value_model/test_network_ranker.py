"""The network recovers what generated its data, and its graphs and files say the same as itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ranking_market import CLICKS, EXAMINATION, PURCHASES, SIZES, SPEC, Market, assert_is_a_ranker, market, purchases

from features.keras2 import tensorflow as tf
from features.spec import ModelInputs
from marketplace.heads import learned_heads
from value_model.rankers.calibration import Calibration, Calibrator
from value_model.rankers.config import NetworkConfig, TrainingConfig
from value_model.rankers.graphs import Graphs
from value_model.rankers.group_offsets import GroupOffsets
from value_model.rankers.network_ranker import NetworkRanker
from value_model.rankers.ranker import RankingData
from value_model.rankers.training import fit

pytestmark = pytest.mark.xdist_group("network_ranker")  # one process makes what they share

SMALL = NetworkConfig(embedding=4, bins=8, experts=3, expert_units=(16, 8), tower_units=8, dropout=0.0, positions=8)
QUICK = TrainingConfig(epochs=12, batch_requests=40, learning_rate=5e-3)


def ranker(seed: int = 0, *, click: bool = True, config: NetworkConfig = SMALL) -> NetworkRanker:
    heads = learned_heads(CLICKS if click else PURCHASES)
    return NetworkRanker(SPEC, SIZES, config=config, heads=heads, rng=np.random.default_rng(seed))


def fitted(
    made: Market, *, config: TrainingConfig = QUICK, click: bool = True, network: NetworkConfig = SMALL
) -> NetworkRanker:
    """A ranker trained on all but the last quarter of the requests."""
    model = ranker(click=click, config=network)
    train, later = halves(made.data if click else purchases(made.data))
    fit(model, train, later, config=config, rng=np.random.default_rng(0), progress=False)
    return model


def halves(data: RankingData) -> tuple[RankingData, RankingData]:
    from value_model.rankers.batches import request_offsets, take

    requests = len(data.inputs.user_codes)
    offsets = request_offsets(data.inputs.request, requests)
    cut = requests * 3 // 4
    return tuple(take(data, np.arange(*ends), offsets=offsets) for ends in ((0, cut), (cut, requests)))  # type: ignore[return-value]


@pytest.fixture(scope="module")
def made() -> Market:
    return market(np.random.default_rng(0), requests=1200, examined=True)


@pytest.fixture(scope="module")
def trained(made: Market) -> NetworkRanker:
    return fitted(made)


def arguments(inputs: ModelInputs, graph) -> list[tf.Tensor]:  # type: ignore[no-untyped-def]
    return [tf.constant(getattr(inputs, spec.name)) for spec in graph.input_signature]


@pytest.mark.parametrize("click", [True, False])
def test_it_is_a_ranker_with_and_without_clicks(made: Market, click: bool) -> None:
    model = ranker(click=click)
    assert model.heads == (("ctr", "cvr", "order_value") if click else ("ctcvr", "order_value"))
    assert_is_a_ranker(model, made.data)


def test_it_starts_undecided_and_adapts_to_the_base_rates(made: Market) -> None:
    model = ranker()
    before = model.predict(made.data.inputs)
    np.testing.assert_allclose(before["ctr"], 0.5)
    np.testing.assert_allclose(before["ctcvr"], 0.25)
    model.network.adapt(made.data)
    labels = made.data.labels
    after = model.predict(made.data.inputs)
    np.testing.assert_allclose(after["ctr"], labels["click"].mean(), rtol=1e-2)
    np.testing.assert_allclose(after["ctcvr"], labels["order"].mean(), rtol=1e-2)


@pytest.mark.slow
def test_the_position_tower_recovers_who_was_examined(trained: NetworkRanker) -> None:
    """Clicks of a position-based model: P(click) = examination x attraction, nearly exp(bias) where odds are small."""
    rare = market(np.random.default_rng(1), requests=3000, examined=True, base=-2.5)
    model = fitted(rare, config=replace(QUICK, epochs=4))
    bias = model.network.position.bias.numpy()[1:, 0]
    np.testing.assert_allclose(np.exp(bias - bias[0]), EXAMINATION, atol=0.12)


def test_relevance_is_learned_apart_from_position(trained: NetworkRanker, made: Market) -> None:
    neutral = trained.predict(made.data.inputs)["ctr"]
    assert np.corrcoef(neutral, made.ctr)[0, 1] > 0.95
    assert abs(np.corrcoef(neutral, made.data.position)[0, 1]) < 0.1
    shown = trained.predict(made.data.inputs, position=made.data.position)["ctr"]
    assert np.corrcoef(shown, made.data.position)[0, 1] < -0.4


@pytest.mark.slow
def test_cvr_over_all_impressions_is_unbiased_where_clicked_rows_alone_are_not() -> None:
    """What is clicked converts better for the same reason: the mean cvr of all rows is below that of clicked rows."""
    made = market(np.random.default_rng(2), requests=2000, shared=1.5, base=-1.5)
    labels = made.data.labels
    clicked = labels["click"] > 0
    naive = labels["order"][clicked].mean()
    truth = made.cvr.mean()
    mean = fitted(made).predict(made.data.inputs)["cvr"].mean()
    assert naive - truth > 0.15
    assert abs(mean - truth) < 0.05


def test_expected_order_value_is_the_mean_and_not_the_median(trained: NetworkRanker, made: Market) -> None:
    """The market's values are log-normal with sigma 0.5: mean = median * exp(0.125)."""
    expected = trained.predict(made.data.inputs)["order_value"]
    ratio = expected.mean() / made.mean_value.mean()
    assert ratio == pytest.approx(1, abs=0.06)
    assert np.corrcoef(np.log(expected), np.log(made.mean_value))[0, 1] > 0.97


def test_tasks_use_their_own_mixture_of_experts(trained: NetworkRanker) -> None:
    network, config = trained.network, trained.config
    gates = network._first["cross"].numpy()[:, config.experts * 16 : config.experts * 16 + 3 * config.experts]
    by_task = np.moveaxis(gates.reshape(len(gates), 3, config.experts), 1, 0)
    assert np.abs(by_task[0] - by_task[1]).max() > 0.02


@pytest.mark.slow
def test_purchase_only_mode_recovers_the_order_rate(made: Market) -> None:
    everything = market(np.random.default_rng(3), requests=1200)
    ctcvr = fitted(everything, click=False).predict(everything.data.inputs)["ctcvr"]
    truth = everything.ctr * everything.cvr
    assert np.corrcoef(ctcvr, truth)[0, 1] > 0.95
    assert ctcvr.mean() == pytest.approx(truth.mean(), rel=0.1)


def test_it_can_overfit_a_tiny_set() -> None:
    tiny = market(np.random.default_rng(4), requests=8).data
    model = ranker(config=replace(SMALL, expert_units=(32, 16)))
    history = fit(
        model,
        tiny,
        tiny,
        config=TrainingConfig(
            epochs=150, batch_requests=8, learning_rate=2e-2, patience=150, head_patience=150, slow_down=1.0
        ),
        rng=np.random.default_rng(0),
        progress=False,
    )
    assert history.held_out[history.best]["ctr"] < 0.05


def test_saved_weights_predict_the_same_bits(trained: NetworkRanker, made: Market, tmp_path: Path) -> None:
    trained.save(tmp_path)
    loaded = NetworkRanker.load(tmp_path).predict(made.data.inputs)
    for name, values in trained.predict(made.data.inputs).items():
        np.testing.assert_array_equal(loaded[name], values)


def test_weights_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="another feature spec"):
        ranker().set_weights(ranker(config=replace(SMALL, experts=2)).weights())


def test_a_missing_number_and_an_absent_history_are_taken(trained: NetworkRanker, made: Market) -> None:
    inputs = made.data.inputs
    blank = replace(
        inputs,
        cross_numbers=np.full_like(inputs.cross_numbers, np.nan),
        user_lists=np.zeros_like(inputs.user_lists),
        item_codes=np.zeros_like(inputs.item_codes),
    )
    assert_is_a_ranker(trained, replace(made.data, inputs=blank))


CALIBRATION = Calibration(
    {
        "ctr": Calibrator("isotonic", x=(-3.0, -1.0, 0.0, 2.0), y=(0.02, 0.2, 0.35, 0.8)),
        "cvr": Calibrator("platt", slope=0.8, intercept=-0.2),
        "order_value": Calibrator("scale", slope=1.1),
    },
    {"cvr": (GroupOffsets("segment", 0, (0.0, 0.3, -0.4, 0.1, 0.2, -0.7)),)},
)


def test_graphs_agree_with_the_ranker_its_calibrators_and_their_halves(trained: NetworkRanker, made: Market) -> None:
    inputs = halves(made.data)[1].inputs
    graphs = Graphs(trained, CALIBRATION)
    whole = {name: values.numpy() for name, values in graphs.whole(*arguments(inputs, graphs.whole)).items()}
    expected = CALIBRATION(trained.predict(inputs), inputs)
    assert set(whole) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(whole[name], values, rtol=1e-6, atol=1e-6, err_msg=name)
    part = graphs.item_part(*arguments(inputs, graphs.item_part))["item_part"]
    rest = graphs.rest(
        *(
            part if spec.name == "item_part" else tf.constant(getattr(inputs, spec.name))
            for spec in graphs.rest.input_signature
        )
    )
    for name, values in whole.items():
        np.testing.assert_allclose(rest[name].numpy(), values, rtol=1e-6)


def test_the_graph_converts_to_onnx_with_the_same_results(trained: NetworkRanker, made: Market) -> None:
    tf2onnx, onnxruntime = pytest.importorskip("tf2onnx"), pytest.importorskip("onnxruntime")
    inputs = halves(made.data)[1].inputs
    inputs.cross_numbers[::7, 0] = np.nan
    graph = Graphs(trained, CALIBRATION).whole
    model, _ = tf2onnx.convert.from_function(graph, input_signature=graph.input_signature, opset=17)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    feed = {argument.name: getattr(inputs, argument.name) for argument in session.get_inputs()}
    expected = graph(*arguments(inputs, graph))
    for name, values in zip(names, session.run(None, feed), strict=True):
        np.testing.assert_allclose(values, expected[name].numpy(), rtol=1e-5, atol=1e-6, err_msg=name)
