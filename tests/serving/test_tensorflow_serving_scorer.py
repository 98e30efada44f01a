"""A TF-Serving that scores for the service: on its real messages, and slow, killed, wrong and back again."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from model_server import ModelServer
from tensorflow.core.framework import tensor_pb2

from features.keras2 import tensorflow as tf
from marketplace.memory_log import MemoryLog
from marketplace.schema import SCORER_KEY
from serving import wsgi
from serving.bundle import build_engine, own_scorer
from serving.metrics import Metrics
from serving.parity import difference, probe_inputs
from serving.prediction_service import PredictionService, array, tensor
from serving.raw_inputs import raw_call
from serving.replay import replay
from serving.request import Request
from serving.tf_serving_scorer import MOST_RETRIES, RemoteFailure, TfServingScorer


@pytest.fixture
def server(savedmodel_scorer):
    server = ModelServer(savedmodel_scorer.signatures)
    yield server
    server.server.stop(0)


@pytest.fixture
def now():
    return [0.0]


@pytest.fixture
def scorer(server, bundle, now):
    remote = PredictionService(f"127.0.0.1:{server.port}", model="value_model")
    yield TfServingScorer(remote, own_scorer(bundle), seconds=5.0, clock=lambda: now[0])
    remote.close()


def probe(bundle):
    return probe_inputs(bundle.encoder, rows=20, rng=np.random.default_rng(3))


@pytest.mark.parametrize("as_lists", [False, True])
def test_the_server_scores_and_the_slate_says_so(server, scorer, bundle, as_lists):
    server.as_lists = as_lists
    engine, own = (build_engine(bundle, log=MemoryLog(), scorer=one) for one in (scorer, None))
    request = Request("r", engine.parts.known_until, "home", "u1", k=5)
    slate, expected = engine.rank(request).slate, own.rank(request).slate
    assert slate.context[SCORER_KEY] == "tf-serving"
    assert SCORER_KEY not in expected.context
    for head, values in expected.predictions.items():
        assert difference(values, slate.predictions[head]) < 1e-6
    assert replay(engine.parts, slate).same
    assert replay(own.parts, slate).same  # whoever scored it
    moved = replace(slate, predictions={head: 1.01 * values for head, values in slate.predictions.items()})
    assert "predictions.ctr" in replay(own.parts, moved).differs
    counts = Metrics()
    counts.observe_rung(slate)
    counts.observe_rung(replace(slate, context={**slate.context, SCORER_KEY: "local, late"}))
    text = counts.render().decode()
    assert 'value_model_scorings_total{by="tf-serving"} 1.0' in text
    assert 'value_model_scorings_total{by="local, late"} 1.0' in text
    assert 'value_model_rankings_total{rung="full"} 1.0' in text
    assert 'value_model_rankings_total{rung="own scorer"} 1.0' in text


def test_the_client_sends_text_as_well(server, bundle):
    """docs/tf-serving.md calls a raw signature with it."""
    engine = build_engine(bundle, log=MemoryLog())
    slate = engine.rank(Request("r", engine.parts.known_until, "home", "u1", k=5)).slate
    remote = PredictionService(f"127.0.0.1:{server.port}", model="value_model")
    call = raw_call(slate, bundle.encoder.spec, bundle.policy)
    answer, version = remote.predict(call, signature="raw_value", seconds=5.0)
    assert version == 1
    assert difference(slate.value, answer["value"]) < 1e-6
    text = np.array([["حذاء", ""], ["a", "b"]], object)
    assert array(tensor(text)).tolist() == text.tolist()
    assert tf.make_ndarray(tensor_pb2.TensorProto.FromString(tensor(text).SerializeToString())).shape == (2, 2)


def test_a_slow_server_costs_few_requests_their_deadline(server, scorer, bundle, now):
    scorer._seconds, inputs = 0.05, probe(bundle)
    expected = own_scorer(bundle).score(inputs)
    server.seconds = 0.4
    answers = [scorer.score(inputs) for _ in range(6)]
    assert [answer.by for answer in answers] == ["local, late"] * 3 + ["local, resting"] * 3
    for head, values in expected.items():
        np.testing.assert_array_equal(answers[0][head], values)
    server.seconds, scorer._seconds, now[0] = 0.0, 5.0, 1.1
    assert scorer.score(inputs).by == "tf-serving"


def test_a_server_that_is_killed_under_load_is_missed_by_nobody(server, scorer, bundle, now):
    inputs = probe(bundle)
    by = []
    for number in range(12):
        if number == 4:
            server.server.stop(0).wait()
        by.append(scorer.score(inputs).by)
    assert by == ["tf-serving"] * 4 + ["local, unreachable"] * 3 + ["local, resting"] * 5
    server.start(port=server.port)
    deadline = time.monotonic() + 10
    while scorer.score(inputs).by != "tf-serving":
        assert time.monotonic() < deadline
        time.sleep(0.05)
        now[0] += 0.05


@pytest.mark.parametrize(
    "spoil",
    [
        lambda heads: {name: values[:-1] for name, values in heads.items()},
        lambda heads: {"score": heads["ctr"]},
        lambda heads: heads | {"ctr": np.array(["a"] * len(heads["ctr"]))},
        lambda heads: {},
    ],
)
def test_an_answer_of_another_shape_is_not_believed(server, scorer, bundle, spoil):
    server.spoil = spoil
    assert scorer.score(probe(bundle)).by == "local, malformed"


def test_a_server_with_another_model_is_not_believed(server, scorer, bundle, caplog):
    inputs = probe(bundle)
    server.spoil, server.version = lambda heads: heads | {"cvr": heads["cvr"] * 1.01}, 7
    assert [scorer.score(inputs).by for _ in range(2)] == ["local, another model"] * 2
    assert "version 7 of the model in TF-Serving differs in cvr by 0.01" in caplog.text
    server.spoil, server.version = lambda heads: heads, 8
    assert [scorer.score(inputs).by for _ in range(2)] == ["tf-serving"] * 2


def test_a_call_is_repeated_while_the_budget_lasts(bundle, now):
    calls = []

    class Down:
        def predict(self, inputs, *, signature, seconds):
            calls.append(seconds)
            now[0] += 0.04
            raise RemoteFailure("unreachable", "gone", passing=True)

    scorer = TfServingScorer(Down(), own_scorer(bundle), seconds=0.1, clock=lambda: now[0])
    for number in range(40):
        now[0] = 10.0 * number  # never resting
        scorer.score(probe(bundle))
    repeated = len(calls) - 40
    assert repeated == MOST_RETRIES + 3  # saved up, and a tenth of what came since
    assert calls[:2] == [0.1, pytest.approx(0.06)]


def test_the_service_is_told_where_by_its_environment(server, bundle_folder, tmp_path):
    place = {"VALUE_MODEL_BUNDLE": str(bundle_folder), "VALUE_MODEL_LOG": str(tmp_path / "log.sqlite")}
    app = wsgi.create(place | {"VALUE_MODEL_TF_SERVING": f"127.0.0.1:{server.port}"})
    answer = app.test_client().post("/v1/recommend", json={"surface": "home", "user_id": "u1", "k": 3})
    assert answer.status_code == 200
    assert 'value_model_scorings_total{by="tf-serving"} 1.0' in app.test_client().get("/metrics").text
    with pytest.raises(wsgi.NotConfigured, match="HOST:PORT"):
        wsgi._scorers({"VALUE_MODEL_TF_SERVING": "http://localhost:8501"})
