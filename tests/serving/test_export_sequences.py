"""Every sequence encoder as it is served: ONNX and SavedModel say what the trained ranker and query tower say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from small_ranker import SIZES, SMALL, SPEC, small_encoder, small_ranker

from features.keras2 import tensorflow as tf
from features.layers.sequence_shape import ENCODERS, TARGETED
from features.spec import FeatureSpec, Group, categories
from retrieval.config import RetrievalConfig
from retrieval.two_tower import TwoTower
from serving.export_onnx import export_onnx, write_graph
from serving.export_savedmodel import export_savedmodel
from serving.onnx_scorer import OnnxScorer
from serving.parity import difference, probe_inputs
from serving.query_tower import OnnxQueryTower
from serving.tensorflow_scorer import TensorFlowScorer
from value_model.formula import default_policy
from value_model.rankers.calibration import Calibration
from value_model.rankers.graphs import Graphs
from value_model.rankers.network_ranker import NetworkRanker

COLUMNS = (
    categories(Group.USER, "history_items", "items", vocabulary="item", length=5),
    categories(Group.USER, "history_ages", "ages", vocabulary="age", length=5),
)
SEQUENCED = FeatureSpec(tuple(f for f in SPEC.features if f.name != "history") + COLUMNS)
MORE_SIZES = SIZES | {"age": 9}


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in TARGETED if kind != "mean"])
def test_a_ranker_is_exported_and_kept_as_it_predicts(kind, tmp_path):
    shape = replace(SMALL, sequence=kind, sequence_units=8)
    ranker = small_ranker(spec=SEQUENCED, sizes=MORE_SIZES, config=shape)
    graphs = Graphs(ranker, Calibration())
    export_onnx(ranker, graphs, folder=tmp_path / "onnx")
    heads = onnx.load(tmp_path / "onnx" / "heads.onnx").graph
    assert sum(node.op_type == "Gemm" and node.name.endswith("from_items") for node in heads.node) == 1
    encoder = small_encoder(spec=SEQUENCED, sizes=MORE_SIZES)
    export_savedmodel(encoder, graphs, default_policy(), folder=tmp_path / "savedmodel")
    ranker.save(tmp_path / "ranker")
    probe = probe_inputs(ranker, rows=100, rng=np.random.default_rng(5))
    expected, scores = ranker.predict(probe), OnnxScorer(tmp_path / "onnx").score(probe)
    tensorflow, again = (
        TensorFlowScorer(tmp_path / "savedmodel").score(probe),
        NetworkRanker.load(tmp_path / "ranker").predict(probe),
    )
    probe.user_lists[:] = 0
    empty = OnnxScorer(tmp_path / "onnx").score(probe)
    for head, values in expected.items():
        assert np.ptp(values) > 0
        assert np.isfinite(empty[head]).all()
        assert np.abs(empty[head] - values).max() > 1e-4
        assert difference(values, scores[head]) < 1e-6
        assert difference(values, tensorflow[head]) < 1e-6
        np.testing.assert_array_equal(values, again[head])


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in ENCODERS if kind != "mean"])
def test_a_query_tower_is_exported_and_kept_as_it_embeds(kind, tmp_path):
    config = RetrievalConfig(table_width=4, dimensions=8, hidden=(16,), sequence=kind, sequence_units=8)
    towers = TwoTower(SEQUENCED, MORE_SIZES, config=config, rng=np.random.default_rng(0))
    for variable in towers.query_tower.encoder.variables:
        variable.assign(variable + np.random.default_rng(1).normal(0, 0.3, variable.shape).astype(np.float32))
    write_graph(towers.query_function(), path=tmp_path / "query.onnx")
    towers.save_towers(tmp_path)
    again, served = TwoTower.load_towers(tmp_path), OnnxQueryTower(tmp_path / "query.onnx")
    probe = probe_inputs(towers, rows=1, rng=np.random.default_rng(5))
    user = probe.user_codes, probe.user_lists, probe.user_numbers
    expected = towers.embed_queries(*user)
    np.testing.assert_array_equal(expected, again.embed_queries(*user))
    np.testing.assert_allclose(served.embed(probe), expected[0], atol=1e-6)
    assert np.abs(towers.embed_queries(user[0], np.zeros_like(user[1]), user[2]) - expected).max() > 1e-3
    assert tf.reduce_all(tf.math.is_finite(expected))
