"""TensorFlow computes what the service does: the trained ranker, the SavedModel's signatures, and the scorer on it."""

import numpy as np
import pytest
from test_engine import ALL_SURFACES, ask

from features.keras2 import tensorflow as tf
from features.served import served
from marketplace.memory_log import MemoryLog
from marketplace.slate import slates_to_table
from serving.bundle import build_engine
from serving.export_savedmodel import raw_signature, value_call
from serving.parity import difference
from serving.raw_inputs import quantities, raw_call
from serving.tf_examples import example_call


@pytest.fixture
def engine(bundle):
    return build_engine(bundle, log=MemoryLog())


def test_predictions_are_the_rankers_on_features_from_the_store(engine, market, trained):
    request = ask(market, candidates=tuple(market.dataset.items["item_id"].to_pylist()[:20]))
    slate = engine.rank(request).slate
    known = market.store.lookup(request, np.arange(20, dtype=np.int32))
    inputs = market.encoder.encode(known.frame())
    expected = trained.calibration(trained.ranker.predict(inputs), inputs)
    for head, values in expected.items():
        assert difference(values, slate.predictions[head]) < 1e-6


def test_the_savedmodel_values_the_logged_features_as_the_answer_did(bundle, engine, market, savedmodel_scorer):
    """Flask answers what the engine logs; TF-Serving gets the features as logged, coded or raw."""
    signatures, spec = savedmodel_scorer.signatures, market.encoder.spec
    items = market.dataset.items["item_id"].to_pylist()[:9]
    sent = {
        "numeric": {"adults": np.float32([2]), "distance": np.arange(9, dtype=np.float32)},
        "categorical": {"room": np.array(["single", None, "a tent"] * 3, object)},
    }
    requests = [ask(market, surface) for surface in ALL_SURFACES]
    requests.append(ask(market, request_id="sent", candidates=tuple(items), user_id="a stranger", **sent))
    for slate in [engine.rank(request).slate for request in requests]:
        inputs = market.encoder.encode(served(slates_to_table([slate]), spec))
        columns = {name: engine.parts.valuation.columns(slate)[name] for name in quantities(bundle.policy)}
        raw = raw_call(slate, spec, bundle.policy)
        calls = {
            "value": value_call(inputs, columns, surface=slate.surface),
            "raw_value": raw,
            "examples": example_call(raw, raw_signature(spec, bundle.policy)),
        }
        expected = {**slate.predictions, "value": slate.value, "merchant_value": slate.merchant_value}
        for name, call in calls.items():
            answers = signatures[name](**{name: tf.constant(values) for name, values in call.items()})
            for head, logged in expected.items():
                assert difference(logged, answers[head].numpy()) < 1e-6


def test_the_tensorflow_scorer_ranks_alike(bundle, engine, market, savedmodel_scorer):
    twin = build_engine(bundle, log=MemoryLog(), scorer=savedmodel_scorer)
    a, b = engine.rank(ask(market)).slate, twin.rank(ask(market)).slate
    assert difference(a.value, b.value) < 1e-6
