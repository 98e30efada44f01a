"""Trees, alone, pooled with the network and read by it, are served by both runtimes as they predict."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from small_ranker import SPEC, small_encoder, small_ranker
from small_trees import CONFIG, several_requests, small_trees

from marketplace.heads import learned_heads
from serving.export_onnx import export_onnx
from serving.export_savedmodel import export_savedmodel
from serving.onnx_scorer import OnnxScorer
from serving.parity import difference
from serving.tensorflow_scorer import TensorFlowScorer
from value_model.formula import default_policy
from value_model.rankers.calibration import Calibration, Calibrator
from value_model.rankers.config import TREE_LIBRARIES
from value_model.rankers.graphs import Graphs
from value_model.rankers.opinion_pool import OpinionPool
from value_model.rankers.stack import Stack, scored_spec

pytestmark = pytest.mark.xdist_group("tree_scorer")  # one process makes what they share

CALIBRATION = Calibration(
    {
        "ctr": Calibrator("isotonic", x=(-3.0, -1.0, 0.0, 2.0), y=(0.02, 0.2, 0.35, 0.8)),
        "order_value": Calibrator("scale", slope=1.1),
    }
)


XGBOOST = dataclasses.replace(CONFIG, library="xgboost")


@pytest.fixture(scope="module")
def rankers():
    trees = small_trees()
    members = {
        "network": small_ranker(),
        "lightgbm": trees,
        "xgboost": small_trees(XGBOOST),
    }
    weights = {"ctr": (0.5, 0.3, 0.2), "cvr": (0, 0, 1), "order_value": (0.2, 0.3, 0.5)}
    pool = OpinionPool(members, weights={head: dict(zip(members, some, strict=True)) for head, some in weights.items()})
    both = {name: members[name] for name in TREE_LIBRARIES}
    spec = scored_spec(SPEC, learned_heads(("click", "order", "order_value")), TREE_LIBRARIES)
    return {"trees": trees, "pool": pool, "stack": Stack(small_ranker(spec=spec), both)}


@pytest.fixture(scope="module", params=["stack", "pool"])
def exported(request, rankers, tmp_path_factory):
    ranker, folder = rankers[request.param], tmp_path_factory.mktemp(request.param)
    graphs, vocabulary = Graphs(ranker, CALIBRATION), small_encoder()
    gap = export_onnx(vocabulary, graphs, folder=folder)
    export_savedmodel(vocabulary, graphs, default_policy(), folder=folder / "1")
    return ranker, folder, gap


def test_both_runtimes_say_what_the_ranker_predicts(exported):
    ranker, folder, gap = exported
    inputs = several_requests(requests=4, rows=100, seed=3)
    inputs.item_codes[::9] = 45
    expected = CALIBRATION(ranker.predict(inputs), inputs)
    for scorer in (OnnxScorer(folder), TensorFlowScorer(folder / "1")):
        scores = scorer.score(inputs)
        assert set(scores) == set(expected)
        for head, values in expected.items():
            assert np.ptp(values) > 0
            assert difference(values, scores[head]) < 1e-6
    assert gap < 1e-6


ORDERING = dataclasses.replace(CONFIG, library="xgboost", objective="lambdarank", debiased=True, amounts="tweedie")


# XGBoost sums in float32.
@pytest.mark.parametrize(("config", "tolerance"), [(CONFIG, 1e-6), (ORDERING, 5e-6)], ids=["pointwise", "ordering"])
def test_trees_alone_are_the_booster_to_a_millionth(config, tolerance, rankers, tmp_path):
    trees, vocabulary = rankers["trees"] if config is CONFIG else small_trees(config), small_ranker()
    export_onnx(vocabulary, Graphs(trees, Calibration()), folder=tmp_path)
    inputs = several_requests(requests=2, rows=500, seed=4)
    scores, expected = OnnxScorer(tmp_path).score(inputs), trees.predict(inputs)
    for head in ("ctr", "cvr"):
        np.testing.assert_allclose(scores[head], expected[head], rtol=0, atol=1e-6)
    np.testing.assert_allclose(scores["order_value"], expected["order_value"], rtol=tolerance)
    assert not (tmp_path / "item.onnx").exists()


def test_a_row_has_the_same_bits_in_any_company(exported):
    _, folder, _ = exported
    inputs, scorer = several_requests(requests=1, rows=200, seed=5), OnnxScorer(folder)
    everything = scorer.score(inputs)
    names = ("item_codes", "item_lists", "item_numbers", "cross_codes", "cross_numbers", "request")
    for chosen in (np.arange(3), np.array([150, 7, 199, 20]), np.arange(90, 91)):
        some = scorer.score(dataclasses.replace(inputs, **{name: getattr(inputs, name)[chosen] for name in names}))
        for head, values in some.items():
            np.testing.assert_array_equal(values, everything[head][chosen])


def test_a_saved_pool_predicts_the_same(rankers, tmp_path):
    rankers["pool"].save(tmp_path)
    inputs = several_requests(requests=1, rows=50, seed=6)
    again = OpinionPool.load(tmp_path).predict(inputs)
    for head, values in rankers["pool"].predict(inputs).items():
        np.testing.assert_allclose(again[head], values, rtol=1e-6)


def test_a_pool_of_an_earlier_version_has_one_number_a_head(rankers, tmp_path):
    members = {"network": rankers["pool"].members["network"], "trees": rankers["trees"]}
    OpinionPool(members, weights={"ctr": {"network": 0.25, "trees": 0.75}}).save(tmp_path)
    expected = OpinionPool.load(tmp_path)
    (tmp_path / "pool.json").write_text('{"ctr": 0.75}')
    assert OpinionPool.load(tmp_path).weights == expected.weights
