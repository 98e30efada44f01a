"""Every body with every interaction is served as it was trained: ONNX, SavedModel, and the item's part kept apart."""

from dataclasses import replace

import numpy as np
import pytest
from small_ranker import SMALL, small_encoder, small_ranker

from serving.export_onnx import export_onnx
from serving.export_savedmodel import export_savedmodel
from serving.onnx_scorer import OnnxScorer
from serving.parity import difference, probe_inputs
from serving.tensorflow_scorer import TensorFlowScorer
from value_model.formula import default_policy
from value_model.rankers.calibration import Calibration
from value_model.rankers.graphs import Graphs
from value_model.rankers.network import BODIES


@pytest.mark.slow
@pytest.mark.parametrize("interactions", ["none", "dcn", "fm"])
@pytest.mark.parametrize("body", BODIES)
def test_exports_say_what_the_ranker_predicts(body, interactions, tmp_path):
    shape = replace(SMALL, body=body, interactions=interactions, interaction_units=6, cross_rank=2)
    ranker = small_ranker(config=shape)
    graphs = Graphs(ranker, Calibration())
    assert export_onnx(ranker, graphs, folder=tmp_path / "onnx") < 1e-5
    export_savedmodel(small_encoder(), graphs, default_policy(), folder=tmp_path / "1")
    probe = probe_inputs(ranker, rows=60, rng=np.random.default_rng(5))
    expected = ranker.predict(probe)
    scorer, items = OnnxScorer(tmp_path / "onnx"), np.arange(60, dtype=np.int32)
    first, kept = scorer.score(probe, items=items), scorer.score(probe, items=items)
    assert scorer.parts is not None
    assert scorer.parts.computed == 60  # the item's part is computed once an item, whatever interacts
    for head, values in TensorFlowScorer(tmp_path / "1").score(probe).items():
        assert np.ptp(expected[head]) > 0
        assert difference(expected[head], values) < 1e-5
        assert difference(expected[head], first[head]) < 1e-5
        assert np.array_equal(first[head], kept[head])
