import dataclasses

import numpy as np
import onnx
import pytest
from small_ranker import small_ranker

from features.keras2 import tensorflow as tf
from features.layers.numbers import FAR
from serving import first_layer, live_ramps
from serving.export_onnx import checked, export_onnx, write_graph
from serving.onnx_scorer import OnnxScorer, session
from serving.parity import ExportRefused, difference, probe_inputs, refuse_difference
from value_model.rankers.calibration import Calibration, Calibrator
from value_model.rankers.graphs import Graphs
from value_model.rankers.group_offsets import GroupOffsets

pytestmark = pytest.mark.xdist_group("onnx")  # one process makes what they share

RAW = Calibration()


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    ranker, folder = small_ranker(), tmp_path_factory.mktemp("onnx")
    gap = export_onnx(ranker, Graphs(ranker, RAW), folder=folder)
    return ranker, folder, gap


def test_the_onnx_graphs_say_what_the_ranker_predicts(exported):
    ranker, folder, gap = exported
    probe = probe_inputs(ranker, rows=300, rng=np.random.default_rng(5))
    expected, scores = ranker.predict(probe), OnnxScorer(folder).score(probe)
    assert set(scores) == set(expected)
    for head in expected:
        assert np.ptp(expected[head]) > 0
        assert difference(expected[head], scores[head]) < 1e-6
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
        names = ("item_codes", "item_lists", "item_numbers", "cross_codes", "cross_numbers", "request")
        return dataclasses.replace(probe, **{name: getattr(probe, name)[chosen] for name in names})

    for chosen in (np.array([7]), np.arange(3, 50), np.arange(200)):
        keeping.score(rows(chosen), items=items[chosen])
    for head, values in keeping.score(probe, items=items).items():
        assert np.array_equal(values, fresh[head])


def test_the_first_layer_is_rewritten_and_says_the_same(exported, tmp_path):
    ranker, folder, _ = exported
    plain = tmp_path / "heads.onnx"
    write_graph(Graphs(ranker, RAW).rest, path=plain)
    model, served = onnx.load(plain), onnx.load(folder / "heads.onnx")
    assert first_layer.rewrite(model)
    assert not first_layer.rewrite(model)
    assert live_ramps.rewrite(model)
    assert not live_ramps.rewrite(model)
    assert sorted(node.op_type for node in model.graph.node) == sorted(node.op_type for node in served.graph.node)
    assert any(node.op_type == "Gemm" for node in served.graph.node)
    (tmp_path / "item.onnx").write_bytes((folder / "item.onnx").read_bytes())
    probe = probe_inputs(ranker, rows=100, rng=np.random.default_rng(4))
    expected = OnnxScorer(tmp_path).score(probe)
    for head, values in OnnxScorer(folder).score(probe).items():
        assert difference(expected[head], values) < 1e-6


def test_quantile_bins_that_no_value_falls_into_are_left_out(tmp_path):
    ranker, rng = small_ranker(), np.random.default_rng(7)
    encoder = ranker.network.cross.numbers
    encoder.adapt(np.stack([rng.integers(0, 4, 500), rng.integers(0, 2, 500)], axis=1).astype(np.float32))
    dead = np.count_nonzero(encoder.low.numpy() == FAR)
    assert 0 < dead < encoder.low.numpy().size
    write_graph(Graphs(ranker, RAW).rest, path=tmp_path / "plain.onnx", rewrite=first_layer.rewrite)
    export_onnx(ranker, Graphs(ranker, RAW), folder=tmp_path)
    before, after = (rows_of_product(onnx.load(tmp_path / name)) for name in ("plain.onnx", "heads.onnx"))
    assert after == before - dead
    probe = probe_inputs(ranker, rows=200, rng=rng)
    probe.cross_numbers[:] = rng.choice(np.array([0, 0.5, 1, 2, 3, 7, *EXTREMES], np.float32), (200, 2))
    expected = ranker.predict(probe)
    for head, values in OnnxScorer(tmp_path).score(probe).items():
        assert difference(expected[head], values) < 1e-6, head


def rows_of_product(model):
    """Of the weights that the first layer multiplies encoded rows with."""
    gemm = next(node for node in model.graph.node if node.name.endswith("from_items"))
    return next(tensor.dims[0] for tensor in model.graph.initializer if tensor.name == gemm.input[1])


def test_a_row_is_predicted_with_the_same_bits_in_any_company(tmp_path):
    """Lines of a number of points that is no multiple of a vector's width: sums along rows would differ."""
    points = np.linspace(-6, 2, 60)
    line = Calibrator("isotonic", x=tuple(points), y=tuple(1 / (1 + np.exp(-points))))
    ranker = small_ranker()
    export_onnx(ranker, Graphs(ranker, Calibration({"ctr": line, "cvr": line})), folder=tmp_path)
    scorer, rng = OnnxScorer(tmp_path), np.random.default_rng(3)
    probe = probe_inputs(ranker, rows=500, rng=rng)
    everyone = scorer.score(probe)
    names = ("item_codes", "item_lists", "item_numbers", "cross_codes", "cross_numbers", "request")
    for n in (1, 2, 37, 100, 112, 499):
        chosen = np.sort(rng.choice(500, n, replace=False))
        some = scorer.score(dataclasses.replace(probe, **{name: getattr(probe, name)[chosen] for name in names}))
        for head, values in some.items():
            assert np.array_equal(values, everyone[head][chosen]), (n, head)


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


def test_parts_of_a_whole_catalogue_are_kept_while_its_items_are_as_they_were(exported, tmp_path):
    ranker, folder, _ = exported
    probe = probe_inputs(ranker, rows=100, rng=np.random.default_rng(3))
    fresh, items = OnnxScorer(folder).score(probe), np.arange(100, dtype=np.int32)
    inputs = probe.item_codes, probe.item_lists, probe.item_numbers
    OnnxScorer(folder, capacity=100).save_parts(tmp_path / "items", *inputs)
    scorer = OnnxScorer(folder, capacity=100)
    scorer.load_parts(tmp_path / "items")
    before = scorer.parts.computed
    for head, values in scorer.score(probe, items=items).items():
        assert np.array_equal(values, fresh[head])
    assert scorer.parts.computed == before
    probe.item_numbers[4, 0] = 123.0
    changed = scorer.score(probe, items=items)
    assert scorer.parts.computed == before + 1
    for head, values in OnnxScorer(folder).score(probe).items():
        assert np.array_equal(values, changed[head])
    part = np.load(tmp_path / "items" / "item_part.npy")  # what another process maps is as it was
    np.save(tmp_path / "items" / "item_part.npy", np.nextafter(part, np.float32(9)))
    other = OnnxScorer(folder, capacity=100)
    other.load_parts(tmp_path / "items")  # of a machine that rounds otherwise: not taken
    for head, values in other.score(probe, items=items).items():
        assert np.array_equal(values, changed[head])


def test_a_purchase_only_ranker_has_no_click(tmp_path):
    ranker = small_ranker(click=False)
    export_onnx(ranker, Graphs(ranker, RAW), folder=tmp_path)
    assert set(OnnxScorer(tmp_path).heads) == {"ctcvr", "order_value", "gmv"}


def test_calibration_is_part_of_the_graph(exported, tmp_path):
    ranker, _, _ = exported
    calibration = Calibration(
        {
            "ctr": Calibrator("platt", slope=0.8, intercept=-1.0),
            "cvr": Calibrator("isotonic", x=(-2.0, 0.0, 1.5), y=(0.01, 0.2, 0.3)),
            "order_value": Calibrator("scale", slope=1.3),
        },
        {
            "ctr": (GroupOffsets("country", 0, (0.0, 0.1, -0.2, 0.3, 0.5, -0.7)),),
            "order_value": (GroupOffsets("country", 0, (0.0, 0.3, -0.4, 0.1, 0.2, 0.0)),),
        },
    )
    export_onnx(ranker, Graphs(ranker, calibration), folder=tmp_path)
    graph = onnx.load(tmp_path / "heads.onnx").graph
    assert any(node.name.endswith("from_items") for node in graph.node)  # offsets of groups do not forbid the rewriting
    assert "request" in [tensor.name for tensor in graph.input]
    probe = probe_inputs(ranker, rows=30, rng=np.random.default_rng(5))
    expected, scores = calibration(ranker.predict(probe), probe), OnnxScorer(tmp_path).score(probe)
    for head, values in expected.items():
        assert difference(values, scores[head]) < 2e-6


def test_twins_that_differ_are_refused_with_the_head_and_the_gap(exported, tmp_path):
    _, folder, _ = exported
    other = small_ranker(seed=1)
    with pytest.raises(ExportRefused, match=r"differ in '\w+' by [0-9.e-]+ of its largest value, allowed is 0.001"):
        checked(other, Graphs(other, RAW), folder=folder)


def test_a_twin_that_says_nan_is_refused():
    with pytest.raises(ExportRefused, match="'cvr' by nan"):
        refuse_difference(
            {"ctr": np.ones(2), "cvr": np.ones(2)}, {"ctr": np.ones(2), "cvr": np.array([1, np.nan])}, twins="a"
        )


EXTREMES = np.array([np.inf, -np.inf, np.nan, 1e-45, -1e-45, 1e-38, 3.4e38, -3.4e38, -1.0, 0.0, -0.0], np.float32)


def test_inputs_that_are_infinite_missing_or_denormal_are_scored_alike(exported):
    ranker, folder, _ = exported
    rng = np.random.default_rng(6)
    probe = probe_inputs(ranker, rows=400, rng=rng)
    for numbers in (probe.user_numbers, probe.item_numbers, probe.cross_numbers):
        extreme = rng.random(numbers.shape) < 0.5
        numbers[extreme] = rng.choice(EXTREMES, extreme.sum())
    expected = ranker.predict(probe)
    for head, values in OnnxScorer(folder).score(probe).items():
        assert np.isfinite(values).all(), head
        assert difference(expected[head], values) < 1e-6, head


def test_a_choice_leaves_what_it_did_not_choose_out(tmp_path):
    signature = [tf.TensorSpec([None], tf.float32, name="x"), tf.TensorSpec([None], tf.bool, name="chosen")]
    function = tf.function(lambda x, chosen: {"y": tf.where(chosen, tf.ones_like(x), x)}, input_signature=signature)
    write_graph(function, path=tmp_path / "g.onnx")
    for chosen in (True, False):
        inputs = {"x": EXTREMES, "chosen": np.full(len(EXTREMES), chosen)}
        y = session(tmp_path / "g.onnx").run(["y"], inputs)[0]
        np.testing.assert_array_equal(y, np.where(chosen, np.float32(1), EXTREMES))


def test_log1p_converts(tmp_path):
    signature = [tf.TensorSpec([None], tf.float32, name="x")]
    function = tf.function(lambda x: {"y": tf.math.log1p(x)}, input_signature=signature)
    write_graph(function, path=tmp_path / "g.onnx")
    x = np.array([0, 1e-9, 1e-3, 1, 1e6], np.float32)
    assert np.allclose(session(tmp_path / "g.onnx").run(["y"], {"x": x})[0], np.log1p(x), rtol=1e-6, atol=1e-7)
