import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from small_ranker import SPEC, small_ranker

from features.keras2 import tensorflow as tf
from marketplace.schema import SURFACES
from serving.export_savedmodel import export_savedmodel, graph_names, quantities, value_call
from serving.parity import difference, probe_inputs
from serving.scorer import INPUTS, input_widths
from serving.tensorflow_scorer import TensorFlowScorer
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
    export_savedmodel(ranker, Graphs(ranker, Calibration()), POLICY, folder=folder)
    return ranker, folder


@pytest.fixture(scope="module")
def probe():
    return probe_inputs(small_ranker(), rows=50, rng=np.random.default_rng(4))


@pytest.fixture(scope="module")
def columns():
    rng = np.random.default_rng(9)
    return {name: rng.random(50) for name in quantities(POLICY)}


def call(folder, signature, inputs):
    loaded = tf.saved_model.load(str(folder)).signatures[signature]
    return {name: out.numpy() for name, out in loaded(**{n: tf.constant(v) for n, v in inputs.items()}).items()}


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


def test_warm_up_requests_fit_their_signatures(exported):
    _, folder = exported
    calls = read_warmup(folder)
    assert {signature for signature, _ in calls} == {"heads", "value", "value_with_weights"}
    for signature, inputs in calls:
        answers = call(folder, signature, inputs)
        assert len(answers["ctr"]) == len(inputs["item_codes"])


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
    kinds = {"float32": "float", "float64": "double", "int32": "int32"}
    inputs_of, answers = graph_names(export, signature)
    lines = []
    for name, values in inputs.items():
        raw, (operation, index) = folder_of_call / f"{name}.raw", inputs_of[name].rsplit(":", 1)
        values = np.asarray(values)
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
