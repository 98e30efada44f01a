"""The recipes of features, built from the page: what they give in training they give in serving."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from recipes import blocks

from features import definitions
from features.backfill import backfill
from features.spec import FeatureSpec
from features.statistics import counts
from features.store import MemoryStore
from marketplace.simulator import SimulatorConfig, simulate
from marketplace.slate import table_to_slates


@pytest.fixture(scope="module")
def market():
    return simulate(SimulatorConfig.small(), np.random.default_rng(3)).dataset


def example(section):
    """The objects that the section's code makes."""
    made: dict = {}
    for block in blocks(section):
        exec(block, made)  # noqa: S102  (the code is our page)
    return made


def in_training_and_serving(market, definition, monkeypatch):
    """float32 [n] twice: the feature of the last slate's rows by backfill, and by a store at its time."""
    name = definition.feature.name
    monkeypatch.setitem(definitions.FORMULAS, name, definition.formula)
    spec = FeatureSpec((*definitions.standard_spec().features, definition.feature))
    last = market.slates.slice(len(market.slates) - 1)
    slate = table_to_slates(last)[0]
    store = MemoryStore.of(market, spec=spec, until=slate.time)
    rows = store.catalogue.rows(pa.array(slate.item_id, pa.string()))
    served = store.lookup(slate, rows, price=slate.price).frame()
    return backfill(market, last, spec=spec).columns[name].to_numpy(), served.columns[name].to_numpy()


def test_a_derived_feature(market, monkeypatch):
    definition = example("A derived feature")["PRICE_TO_FREE_DELIVERY"]
    trained, served = in_training_and_serving(market, definition, monkeypatch)
    price = table_to_slates(market.slates.slice(len(market.slates) - 1))[0].price
    np.testing.assert_allclose(trained, np.minimum(price / 100.0, 1.0), rtol=1e-6)
    np.testing.assert_array_equal(served, trained)


def test_a_counted_statistic(market, monkeypatch):
    row = example("A counted statistic")["MERCHANT_ORDERS"]
    monkeypatch.setattr(counts, "COUNTS", (*counts.COUNTS, row))
    trained, served = in_training_and_serving(market, row.definitions[0], monkeypatch)
    last = table_to_slates(market.slates.slice(len(market.slates) - 1))[0]
    merchant = dict(zip(market.items["item_id"].to_pylist(), market.items["merchant_id"].to_pylist(), strict=True))
    events = market.feedback.select(["event", "item_id", "time"]).to_pylist()
    ordered = [merchant[e["item_id"]] for e in events if e["event"] == "order" and e["time"] < last.time]
    assert trained.tolist() == [ordered.count(merchant[item]) for item in last.item_id]
    assert trained.max() > 0
    np.testing.assert_array_equal(served, trained)
