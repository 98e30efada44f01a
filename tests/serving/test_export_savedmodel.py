import functools
import shutil
import subprocess
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from small_ranker import SPEC, small_encoder, small_ranker

from features.keras2 import tensorflow as tf
from features.spec import Feature, FeatureSpec, Group, Kind, ModelInputs, Source
from marketplace.schema import SURFACES
from serving.export_savedmodel import SIGNATURES, export_savedmodel, graph_names, raw_signature, value_call
from serving.parity import difference, probe_inputs
from serving.raw_inputs import decoded, formula_inputs, input_names, quantities
from serving.scorer import INPUTS, input_widths
from serving.tensorflow_scorer import TensorFlowScorer
from serving.tf_examples import example_call
from serving.warmup import read_warmup
from value_model.formula import default_policy, evaluate_all
from value_model.rankers.calibration import Calibration
from value_model.rankers.graphs import Graphs

pytestmark = pytest.mark.xdist_group("savedmodel")  # one process makes what they share

POLICY = default_policy()
C_LOADER = Path(__file__).parents[2] / "serving" / "c_loader" / "run_savedmodel.c"


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    ranker, folder = small_ranker(), tmp_path_factory.mktemp("export") / "1"
    export_savedmodel(small_encoder(), Graphs(ranker, Calibration()), POLICY, folder=folder)
    return ranker, folder


@pytest.fixture(scope="module")
def probe():
    return probe_inputs(small_ranker(), rows=50, rng=np.random.default_rng(4))


@pytest.fixture(scope="module")
def columns():
    rng = np.random.default_rng(9)
    return {name: rng.random(50) for name in quantities(POLICY)}


@functools.cache
def loaded(folder):
    return tf.saved_model.load(str(folder))


def call(folder, signature, inputs):
    function = loaded(folder).signatures[signature]
    return {name: out.numpy() for name, out in function(**{n: tf.constant(v) for n, v in inputs.items()}).items()}


def raw(probe, columns, surface="home"):
    """The call of `raw_value` that means the same as that of `value`; a feature has the name of a column, `quality`."""
    columns = {"formula.quality" if name == "quality" else name: values for name, values in columns.items()}
    return decoded(probe, small_encoder()) | columns | {"surface": np.array([surface], object)}


def test_every_input_keeps_its_name_and_width(exported):
    _, folder = exported
    names, _ = graph_names(folder, "heads")
    assert set(names) == {*INPUTS, "request"}
    names, outputs = graph_names(folder, "value_with_weights")
    assert set(names) == {*INPUTS, *quantities(POLICY), *(f"weight_{name}" for name in POLICY.weight)}
    assert {"ctr", "cvr", "gmv", "merchant_value", "value"} <= set(outputs)


def test_heads_are_the_rankers(exported, probe):
    ranker, folder = exported
    expected, answers = ranker.predict(probe), TensorFlowScorer(folder).score(probe)
    assert set(answers) == set(expected)
    for head, values in expected.items():
        assert difference(values, answers[head]) < 1e-6


@pytest.mark.parametrize("surface", SURFACES)
def test_value_bakes_in_the_weights_of_each_surface(exported, probe, columns, surface):
    ranker, folder = exported
    answers = call(folder, "value", value_call(probe, columns, surface=surface))
    expected = evaluate_all(POLICY, {**ranker.predict(probe), **columns}, weights=POLICY.weights_for(surface=surface))
    for name, values in expected.items():
        assert difference(values, answers[name]) < 1e-6


def test_weights_as_input_change_the_value_without_an_export(exported, probe, columns):
    ranker, folder = exported
    weights = POLICY.weights_for() | {"w_click": 0.77, "w_merchant": 0.0}
    answers = call(folder, "value_with_weights", value_call(probe, columns, weights=weights))["value"]
    expected = evaluate_all(POLICY, {**ranker.predict(probe), **columns}, weights=weights)["value"]
    assert difference(expected, answers) < 1e-6
    assert difference(answers, call(folder, "value", value_call(probe, columns, surface="home"))["value"]) > 1e-3


@pytest.mark.parametrize("surface", ["home", "store_page"])
def test_raw_features_are_coded_inside(exported, probe, columns, surface):
    _, folder = exported
    expected = call(folder, "value", value_call(probe, columns, surface=surface))
    inputs, weights = raw(probe, columns, surface), {"w_click": 0.77, "w_merchant": 0.0}
    answers = call(folder, "raw_value", inputs)
    assert set(answers) == set(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(answers[name], values)
    weights = POLICY.weights_for() | weights
    expected = call(folder, "value_with_weights", value_call(probe, columns, weights=weights))["value"]
    inputs |= {f"weight_{name}": np.float64(weight) for name, weight in weights.items()}
    np.testing.assert_array_equal(call(folder, "raw_value_with_weights", inputs)["value"], expected)


def test_examples_are_raw_features(exported, probe, columns):
    _, folder = exported
    inputs = raw(probe, columns)
    protos = example_call(inputs, raw_signature(SPEC, POLICY))
    expected, answers = call(folder, "raw_value", inputs), call(folder, "examples", protos)
    for name, values in expected.items():  # examples hold the formula's columns as float32
        assert difference(values, answers[name]) < 1e-6


def test_what_an_example_lacks_is_missing(exported, probe):
    _, folder = exported
    named = {name: tf.train.Example() for name in ("context", "examples")}
    named["context"].features.feature["surface"].bytes_list.value.append(b"home")
    for name in formula_inputs(SPEC, POLICY).values():
        named["examples"].features.feature[name].float_list.value.append(0.5)
    protos = {name: np.array([proto.SerializeToString()], object) for name, proto in named.items()}
    nothing = {f.name: getattr(probe, f.name)[:1] * (np.nan if "numbers" in f.name else 0) for f in fields(probe)}
    halves = dict.fromkeys(quantities(POLICY), np.array([0.5]))
    expected = call(folder, "value", value_call(ModelInputs(**nothing), halves, surface="home"))
    np.testing.assert_array_equal(call(folder, "examples", protos)["value"], expected["value"])
    del named["examples"].features.feature["newness"]
    protos["examples"][0] = named["examples"].SerializeToString()
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"newness.*is required"):
        call(folder, "examples", protos)


def test_inputs_have_names_that_tensorflow_takes(exported):
    names = ("room type", "غرفة", "Price", "room_type", "margin", "newness!")
    mapped = [Feature(name, Group.CROSS, Kind.NUMBER, "sent", source=Source.CANDIDATE) for name in names]
    kept = input_names(FeatureSpec((*SPEC.features[:-4], *mapped)))
    assert [kept[name] for name in names] == ["room_type", "feature", "Price_2", "room_type_2", "margin", "newness_2"]
    inputs, _ = graph_names(exported[1], "raw_value")
    assert set(inputs) == {spec.name for spec in raw_signature(SPEC, POLICY)} >= {"feature", "formula.quality", "price"}


def test_a_surface_that_there_is_not_is_refused(exported, probe, columns):
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"surface is none of home, search.*lobby"):
        call(exported[1], "raw_value", raw(probe, columns, "lobby"))


def test_warm_up_requests_fit_their_signatures(exported):
    _, folder = exported
    calls = read_warmup(folder)
    assert {signature for signature, _ in calls} == set(SIGNATURES)
    for signature, inputs in calls:
        answers = call(folder, signature, inputs)
        assert len(answers["ctr"]) == len(inputs.get("item_codes", inputs.get("item", inputs.get("examples"))))


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed: the C loader cannot be built")
    return build_loader(tmp_path_factory.mktemp("c"))


def test_a_c_program_runs_the_export_without_python(exported, program, probe, columns, tmp_path):
    _, folder = exported
    inputs = value_call(probe, columns, surface="search")
    answers = run_loader(program, folder, "value", inputs, outputs=("value", "ctr"), folder_of_call=tmp_path)
    expected = call(folder, "value", inputs)
    assert difference(expected["value"], answers["value"]) < 1e-6
    assert difference(expected["ctr"], answers["ctr"]) < 1e-6
    inputs = raw(probe, columns, "search")
    answers = run_loader(program, folder, "raw_value", inputs, outputs=("value", "ctr"), folder_of_call=tmp_path)
    assert difference(expected["value"], answers["value"]) < 1e-6
    assert difference(expected["ctr"], answers["ctr"]) < 1e-6


def test_the_c_program_says_why_it_fails(program, tmp_path):
    run = subprocess.run([program, tmp_path / "nowhere", "call"], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "cannot load the export" in run.stderr


def build_loader(folder: Path) -> Path:
    home, program = Path(tf.__file__).parent, folder / "run_savedmodel"
    libraries = ["-l:libtensorflow_cc.so.2", "-l:libtensorflow_framework.so.2", f"-Wl,-rpath,{home}"]
    subprocess.run(
        ["gcc", "-Wall", "-Werror", "-O2", f"-I{home}/include", C_LOADER, "-o", program, f"-L{home}", *libraries],
        check=True,
    )
    return program


def run_loader(program, export, signature, inputs, *, outputs, folder_of_call):
    kinds = {"float32": "float", "float64": "double", "int32": "int32", "object": "string"}
    inputs_of, answers = graph_names(export, signature)
    lines = []
    for name, values in inputs.items():
        raw, (operation, index) = folder_of_call / f"{name}.raw", inputs_of[name].rsplit(":", 1)
        values = np.asarray(values)
        if values.dtype == object:
            raw.write_text("".join(f"{text}\0" for text in values.flat), encoding="utf-8")
        else:
            values.tofile(raw)
        shape = " ".join(map(str, (values.ndim, *values.shape)))
        lines.append(f"in {operation} {index} {kinds[str(values.dtype)]} {shape} {raw}")
    lines += [f"out {operation} {index}" for operation, index in (answers[name].rsplit(":", 1) for name in outputs)]
    (folder_of_call / "call.txt").write_text("\n".join(lines) + "\n")
    run = subprocess.run(
        [program, export, folder_of_call / "call.txt"], capture_output=True, text=True, check=True, env={"PATH": ""}
    )
    return {name: np.array(line.split(), float) for name, line in zip(outputs, run.stdout.splitlines(), strict=True)}


def test_widths_are_those_of_the_spec():
    assert input_widths(SPEC) == {
        "user_codes": 1,
        "user_lists": 5,
        "user_numbers": 1,
        "item_codes": 1,
        "item_lists": 3,
        "item_numbers": 2,
        "cross_codes": 1,
        "cross_numbers": 2,
    }
