import dataclasses

import numpy as np
import pytest
from small_ranker import small_ranker

from features.keras2 import tensorflow as tf
from serving.export_onnx import checked, difference, export_onnx, write_graph
from serving.graphs import ExportRefused, probe_inputs
from serving.onnx_scorer import OnnxScorer


def identity(heads):
    return heads


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    ranker, folder = small_ranker(), tmp_path_factory.mktemp("onnx")
    gap = export_onnx(ranker, identity, folder=folder)
    return ranker, folder, gap


def test_the_onnx_graphs_say_what_the_ranker_predicts(exported):
    ranker, folder, gap = exported
    probe = probe_inputs(ranker, rows=300, rng=np.random.default_rng(5))
    expected, found = ranker.predict(probe), OnnxScorer(folder).score(probe)
    assert tuple(found) == ranker.heads
    for head in ranker.heads:
        assert np.ptp(expected[head]) > 0
        assert difference(expected[head], found[head]) < 1e-6
    assert gap < 1e-6


def test_several_requests_at_once_are_scored_by_their_own_user(exported):
    ranker, folder, _ = exported
    a, b = (probe_inputs(ranker, rows=40, rng=np.random.default_rng(seed)) for seed in (1, 2))
    both = dataclasses.replace(
        a, **{f.name: np.concatenate([getattr(a, f.name), getattr(b, f.name)]) for f in dataclasses.fields(a)}
    )
    both.request[40:] = 1
    scorer = OnnxScorer(folder)
    for head, values in scorer.score(both).items():
        alone = np.concatenate([scorer.score(a)[head], scorer.score(b)[head]])
        assert np.allclose(values, alone, rtol=0, atol=1e-6)


def test_kept_item_parts_give_the_same_bits_in_any_company(exported):
    ranker, folder, _ = exported
    probe = probe_inputs(ranker, rows=200, rng=np.random.default_rng(3))
    fresh = OnnxScorer(folder).score(probe)
    keeping = OnnxScorer(folder, capacity=64)
    items = np.random.default_rng(0).permutation(1000)[:200].astype(np.int32)

    def rows(chosen):
        names = ("item_codes", "item_lists", "item_numbers", "cross_numbers", "request")
        return dataclasses.replace(probe, **{name: getattr(probe, name)[chosen] for name in names})

    for chosen in (np.array([7]), np.arange(3, 50), np.arange(200)):
        keeping.score(rows(chosen), items=items[chosen])
    for head, values in keeping.score(probe, items=items).items():
        assert np.array_equal(values, fresh[head])


def test_an_item_is_computed_once_until_its_inputs_change(exported):
    ranker, folder, _ = exported
    probe = probe_inputs(ranker, rows=20, rng=np.random.default_rng(3))
    scorer, items = OnnxScorer(folder), np.arange(20, dtype=np.int32)
    scorer.score(probe, items=items)
    scorer.score(probe, items=items)
    assert scorer.parts.computed == 20
    probe.item_numbers[4, 0] = 123.0
    changed = scorer.score(probe, items=items)
    assert scorer.parts.computed == 21
    for head, values in OnnxScorer(folder).score(probe).items():
        assert np.array_equal(values, changed[head])


def test_a_purchase_only_ranker_has_no_click(tmp_path):
    ranker = small_ranker(click=False)
    export_onnx(ranker, identity, folder=tmp_path)
    assert OnnxScorer(tmp_path).heads == ("ctcvr", "order_value")


def test_calibration_is_part_of_the_graph(exported, tmp_path):
    ranker, folder, _ = exported

    def halve(heads):
        return heads | {"ctr": heads["ctr"] / 2}

    export_onnx(ranker, halve, folder=tmp_path)
    probe = probe_inputs(ranker, rows=30, rng=np.random.default_rng(5))
    raw, calibrated = OnnxScorer(folder).score(probe), OnnxScorer(tmp_path).score(probe)
    assert np.allclose(calibrated["ctr"], raw["ctr"] / 2, rtol=1e-6)
    assert np.array_equal(calibrated["cvr"], raw["cvr"])


def test_twins_that_differ_are_refused_with_the_head_and_the_gap(exported, tmp_path):
    _, folder, _ = exported
    other = small_ranker(seed=1)
    with pytest.raises(ExportRefused, match=r"differ in '\w+' by [0-9.e-]+, allowed is 1e-05"):
        checked(other, identity, folder=folder)


def test_a_twin_that_says_nan_is_refused(exported):
    ranker, folder, _ = exported
    with pytest.raises(ExportRefused, match="nan"):
        checked(ranker, lambda heads: heads | {"cvr": heads["cvr"] * np.nan}, folder=folder)


def test_log1p_converts(tmp_path):
    signature = [tf.TensorSpec([None], tf.float32, name="x")]
    write_graph(lambda x: {"y": tf.math.log1p(x)}, signature, path=tmp_path / "g.onnx")
    from serving.onnx_scorer import session

    x = np.array([0, 1e-9, 1e-3, 1, 1e6], np.float32)
    assert np.allclose(session(tmp_path / "g.onnx").run(["y"], {"x": x})[0], np.log1p(x), rtol=1e-6, atol=1e-7)
