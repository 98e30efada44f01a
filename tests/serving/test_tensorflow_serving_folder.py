"""What a TF-Serving is started on: versions, configuration, calls to try; and what its models answer."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from google.protobuf import text_format
from model_server import ModelServer
from tensorflow_serving.config import model_server_config_pb2

from desk.publication import ServedPolicy
from features.keras2 import tensorflow as tf
from features.served import served
from jobs.tf_serving import tf_serving
from marketplace.memory_log import MemoryLog
from marketplace.schema import microseconds_of
from marketplace.slate import slates_to_table
from retrieval.candidates import Query
from retrieval.sources.two_tower_source import TwoTowerSource
from serving.bundle import build_engine, load_bundle
from serving.export_savedmodel import graph_names
from serving.manifest import BundleError, point_current
from serving.parity import ExportRefused, difference
from serving.policy_bundle import write_policy_bundle
from serving.raw_inputs import raw_call, retrieve_call
from serving.request import Request
from serving.tf_serving_folder import write_folder
from serving.warmup import read_warmup

PAGE = (Path(__file__).parents[2] / "docs" / "tf-serving.md").read_text()


@pytest.fixture(scope="module")
def run(bundle_folder, trained, tmp_path_factory):
    """A run's folder, as far as it is read."""
    run = tmp_path_factory.mktemp("run")
    shutil.copytree(bundle_folder, run / "bundles" / "3")
    (run / "bundle").symlink_to("bundles/3")
    trained.towers.save_towers(run / "retrieval")
    return run


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    tf_serving(run, folder)
    return folder


@pytest.fixture(scope="module")
def retrieve(folder):
    model = tf.saved_model.load(str(folder / "value_model_retrieval" / "3"))
    return lambda call: {
        name: values.numpy()
        for name, values in model.signatures["retrieve"](**{n: tf.constant(v) for n, v in call.items()}).items()
    }


@pytest.fixture(scope="module")
def engine(bundle):
    return build_engine(bundle, log=MemoryLog())


def test_models_are_configured_by_name_and_version(folder, bundle):
    config = text_format.Parse((folder / "models.config").read_text(), model_server_config_pb2.ModelServerConfig())
    models = {model.name: model for model in config.model_config_list.config}
    assert set(models) == {"value_model", "value_model_retrieval"}
    for name, model in models.items():
        assert (model.base_path, model.model_platform) == (f"/models/{name}", "tensorflow")
        assert list(model.model_version_policy.specific.versions) == [3]
        assert (folder / name / "3" / "assets.extra" / "tf_serving_warmup_requests").exists()
    assert (folder / "value_model_retrieval" / "3" / "batching_params.pbtxt").exists()
    assert not (folder / "value_model" / "3" / "batching_params.pbtxt").exists()  # its inputs have several lengths


def test_what_is_nearest_is_what_the_service_proposes(retrieve, engine, bundle, market, trained):
    asked = [Request(f"r{n}", engine.parts.known_until, "home", f"u{n}", k=5) for n in range(1, 4)]
    slates = [engine.rank(request).slate for request in asked]
    calls = [
        retrieve_call(raw_call(slate, bundle.encoder.spec, bundle.policy), bundle.encoder.spec) for slate in slates
    ]
    together = retrieve({name: np.concatenate([call[name] for call in calls]) for name in calls[0]})
    shown = market.dataset.items["in_stock"].to_numpy()
    generator, source = engine.parts.candidate_generator, TwoTowerSource(trained.index)
    for place, (slate, call) in enumerate(zip(slates, calls, strict=True)):
        inputs = market.encoder.encode(served(slates_to_table([slate]), market.encoder.spec))
        embedding = generator.embed(inputs)
        time = microseconds_of(slate.time)
        query = Query(slate.user_id, "", np.empty(0, np.int32), embedding, time=time, allowed=shown)
        rows, scores = source.propose(query, k=60)
        alone = retrieve(call)
        assert difference(embedding[None], alone["query_embedding"]) < 1e-6
        assert difference(scores[None], alone["score"]) < 1e-6
        assert alone["item_id"][0].astype(str).tolist() == engine.parts.item_table.item_id[rows].tolist()
        assert together["item_id"][place].tolist() == alone["item_id"][0].tolist()


def test_warm_up_requests_fit(folder, retrieve):
    calls = read_warmup(folder / "value_model_retrieval" / "3")
    assert {len(retrieve(inputs)["score"]) for _, inputs in calls} == {1, 32}


def test_the_calls_to_try_are_answered_as_the_service_would(folder, bundle, savedmodel_scorer, retrieve):
    body = json.loads((folder / "requests" / "raw_value.json").read_text())
    user, items = body["inputs"]["user_id"][0], tuple(body["inputs"]["item_id"])
    engine = build_engine(bundle, log=MemoryLog())  # to whom nothing was shown yet
    slate = engine.rank(Request("again", engine.parts.known_until, "home", user, candidates=items)).slate
    kinds = {name: values.dtype for name, values in raw_call(slate, bundle.encoder.spec, bundle.policy).items()}
    inputs = {name: tf.constant(np.array(values, kinds[name])) for name, values in body["inputs"].items()}
    answer = savedmodel_scorer.signatures[body["signature_name"]](**inputs)
    assert difference(slate.value, answer["value"].numpy()) < 1e-6
    body = json.loads((folder / "requests" / "retrieve.json").read_text())
    assert retrieve({n: np.array(v, kinds[n]) for n, v in body["inputs"].items()})["item_id"].shape == (1, 60)


@pytest.mark.slow
def test_a_policy_that_was_published_since_is_in_the_model(bundle_folder, bundle, tmp_path):
    policy = bundle.policy.with_weights({"w_gmv": 0.5})
    write_policy_bundle(bundle_folder, ServedPolicy(policy), tmp_path / "4")
    over = load_bundle(tmp_path / "4")
    write_folder(over, None, tmp_path / "models", version=4)
    engine = build_engine(over, log=MemoryLog())
    slate = engine.rank(Request("r", engine.parts.known_until, "home", "u1", k=5)).slate
    model = tf.saved_model.load(str(tmp_path / "models" / "value_model" / "4"))
    call = raw_call(slate, over.encoder.spec, policy)
    answer = model.signatures["raw_value"](**{name: tf.constant(values) for name, values in call.items()})
    assert slate.policy_version == policy.version != bundle.policy.version
    assert difference(slate.value, answer["value"].numpy()) < 1e-6


def test_what_serves_is_handed_over_forth_and_back(run, tmp_path, monkeypatch):
    """A model server reads in models.config which version serves; without towers, which take long."""
    home, folder, places, handed_over = tmp_path / "run", tmp_path / "models", iter("43"), []
    for number in "34":
        shutil.copytree(run / "bundles" / "3", home / "bundles" / number, copy_function=os.link)
    point_current(home / "bundle", home / "bundles" / "3")
    monkeypatch.setattr("jobs.tf_serving.example_calls", lambda bundle: {})

    def sleep(_):
        config = text_format.Parse((folder / "models.config").read_text(), model_server_config_pb2.ModelServerConfig())
        (model,) = config.model_config_list.config
        versions = {int(path.name): path.stat().st_mtime_ns for path in (folder / "value_model").iterdir()}
        handed_over.append((list(model.model_version_policy.specific.versions), versions))
        point_current(home / "bundle", home / "bundles" / next(places))

    monkeypatch.setattr("jobs.tf_serving.time.sleep", sleep)
    with pytest.raises(StopIteration):
        tf_serving(home, folder, every=5)
    (first, _), (second, both), (third, kept) = handed_over
    assert (first, second, third) == ([3], [4], [3])
    assert set(both) == {3, 4}
    assert kept == both, "a version that is there was written again"


def test_a_version_is_never_written_over(bundle, folder):
    other = replace(bundle, manifest=replace(bundle.manifest, facts={**bundle.manifest.facts, "seed": 8}))
    with pytest.raises(BundleError, match=r"value_model/3 exists already, of another bundle"):
        write_folder(other, None, folder, version=3)


def test_towers_of_another_training_are_refused(bundle, trained, tmp_path):
    other = SimpleNamespace(spec=trained.towers.spec, embed_queries=lambda *user: -trained.towers.embed_queries(*user))
    with pytest.raises(ExportRefused, match="the bundle's query tower and the run's differ"):
        write_folder(bundle, other, tmp_path / "models", version=1)
    assert not (tmp_path / "models" / "value_model_retrieval" / "1").exists()


def test_the_page_names_what_there_is(folder):
    for path in re.findall(r"@models/(\S+)|=/models/(\S+)", PAGE):
        assert (folder / "".join(path)).exists()
    for model in re.findall(r"/v1/models/(\w+)", PAGE):
        assert (folder / model).is_dir()
    shown = re.search(r"models/(value_model)/1 --tag_set serve --signature_def (\w+)", PAGE)
    inputs, _ = graph_names(folder / shown[1] / "3", shown[2])
    assert set(json.loads((folder / "requests" / "raw_value.json").read_text())["inputs"]) == set(inputs)


def test_the_code_of_the_page_runs(folder, engine, savedmodel_scorer):
    code = re.search(r"\n    import json\n(    .*\n|\n)+", PAGE)[0]
    server = ModelServer(savedmodel_scorer.signatures)
    code = (
        code.replace("\n    ", "\n")
        .replace('"models/', f'"{folder}/')
        .replace("localhost:8500", f"127.0.0.1:{server.port}")
    )
    names = {}
    exec(code, names)  # noqa: S102 (the example of the page)
    server.server.stop(0)
    assert names["version"] == 1
    items = names["inputs"]["item_id"]
    assert names["outputs"]["value"].shape == items.shape == (3,)
