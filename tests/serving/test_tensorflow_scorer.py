"""TensorFlow computes what the service does: the trained ranker, the SavedModel's signatures, and the scorer on it."""

import numpy as np
import pytest
from test_engine import ALL_SURFACES, ask

from features.keras2 import tensorflow as tf
from features.served import served
from marketplace.memory_log import MemoryLog
from marketplace.slate import slates_to_table
from serving.bundle import build_engine
from serving.export_savedmodel import quantities, value_call
from serving.parity import difference
from serving.tensorflow_scorer import TensorFlowScorer


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


def test_the_savedmodel_values_the_logged_features_as_the_answer_did(bundle, engine, market):
    """Flask answers what the engine logs; TF-Serving gets the features as logged through signature `value`."""
    signature = tf.saved_model.load(str(bundle.savedmodel)).signatures["value"]
    for surface in ALL_SURFACES:
        slate = engine.rank(ask(market, surface)).slate
        inputs = market.encoder.encode(served(slates_to_table([slate]), market.encoder.spec))
        columns = {name: engine.parts.valuation.columns(slate)[name] for name in quantities(bundle.policy)}
        call = value_call(inputs, columns, surface=surface)
        answers = signature(**{name: tf.constant(values) for name, values in call.items()})
        for name, logged in {**slate.predictions, "value": slate.value, "merchant_value": slate.merchant_value}.items():
            assert difference(logged, answers[name].numpy()) < 1e-6


def test_the_tensorflow_scorer_ranks_alike(bundle, engine, market):
    twin = build_engine(bundle, log=MemoryLog(), scorer=TensorFlowScorer(bundle.savedmodel))
    a, b = engine.rank(ask(market)).slate, twin.rank(ask(market)).slate
    assert difference(a.value, b.value) < 1e-6
