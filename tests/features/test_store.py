"""The online store gives the numbers that backfill gives: fed event by event, primed at once, or read from a file."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
from feature_market import random_market
from frames import select_requests
from hypothesis import example, given, settings
from hypothesis import strategies as st

from features.backfill import backfill
from features.definitions import standard_spec
from features.encoder import Encoder
from features.item_columns import catalogue_columns
from features.served import arrays
from features.store import MemoryStore, before
from marketplace.slate import table_to_slates

SPEC = standard_spec(against_list=True, product_pages=True, sequence=True, extra=("item_shoppers",))


def assert_same(frame, expected):
    for name, column in expected.columns.items():
        if pa.types.is_floating(column.type):
            ours, theirs = frame.columns[name].to_numpy(), column.to_numpy()
            np.testing.assert_allclose(ours, theirs, rtol=1e-6, err_msg=name)
        else:
            assert frame.columns[name].to_pylist() == column.to_pylist(), name


def streamed(market, until):
    """A store told everything before `until`, one event and one slate at a time."""
    store = MemoryStore.of(market, spec=SPEC, until=market.slates["time"][0].as_py() - timedelta(days=100))
    for table, tell in ((before(market.feedback, until), store.update), (before(market.slates, until), store.show)):
        for row in range(len(table)):
            tell(table.slice(row, 1))
    return store


def answer(store, slate):
    rows = store.catalogue.rows(pa.array(slate.item_id, pa.string()))
    return store.lookup(slate, rows, price=slate.price)


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 60))
@example(5, 5)  # a shopper without events beside an event of an unknown item
def test_streamed_and_primed_stores_equal_backfill(seed, events):
    market = random_market(np.random.default_rng(seed), requests=5, events=events)
    frame = backfill(market, market.slates, spec=SPEC)
    for r, slate in enumerate(table_to_slates(market.slates)):
        expected = select_requests(frame, np.arange(len(market.slates)) == r)
        assert_same(answer(streamed(market, slate.time), slate).frame(), expected)
        assert_same(answer(MemoryStore.of(market, spec=SPEC, until=slate.time), slate).frame(), expected)


def test_a_primed_store_goes_on_as_a_streamed_one_and_survives_saving(market, tmp_path):
    middle, last = market.slates["time"][6].as_py(), market.slates["time"][11].as_py()
    store = MemoryStore.of(market, spec=SPEC, until=middle)
    known = len(before(market.feedback, middle))
    store.update(before(market.feedback, last).slice(known))
    store.show(before(market.slates, last).slice(len(before(market.slates, middle))))
    slate = table_to_slates(market.slates.slice(11))[0]
    expected = answer(streamed(market, last), slate).frame()
    assert_same(answer(store, slate).frame(), expected)
    store.save(tmp_path / "store.npz")
    fresh = MemoryStore(SPEC, store.catalogue, market.users)
    fresh.restore(tmp_path / "store.npz")
    assert_same(answer(fresh, slate).frame(), expected)


def test_a_file_of_another_catalogue_is_refused(market, tmp_path):
    store = MemoryStore.of(market, spec=SPEC)
    store.save(tmp_path / "store.npz")
    other = random_market(np.random.default_rng(0))
    fewer = MemoryStore.of(type(other)(**(vars(other) | {"items": other.items.slice(1)})), spec=SPEC)
    with pytest.raises(ValueError, match="another catalogue"):
        fewer.restore(tmp_path / "store.npz")


def test_a_file_without_a_statistic_is_refused(market, tmp_path):
    MemoryStore.of(market, spec=standard_spec()).save(tmp_path / "store.npz")
    lists = MemoryStore.of(market, spec=SPEC)
    with pytest.raises(ValueError, match="saved before distinct_shoppers"):
        lists.restore(tmp_path / "store.npz")


def test_late_feedback_counts_as_if_it_had_come_in_time(market):
    now = market.feedback["time"][-1].as_py() + timedelta(days=1)
    in_time, late = (
        MemoryStore.of(market, spec=SPEC),
        MemoryStore(SPEC, MemoryStore.of(market, spec=SPEC).catalogue, market.users),
    )
    late.show(market.slates)
    for half in (market.feedback.slice(30), market.feedback.slice(0, 30)):
        late.update(half)
    slate = table_to_slates(market.slates)[0]
    slate = type(slate)(**(vars(slate) | {"time": now}))
    without_order = [name for name in SPEC_NAMES if "history" not in name and "last" not in name]
    ours, theirs = answer(late, slate).frame(), answer(in_time, slate).frame()
    for name in without_order:
        assert ours.columns[name].to_pylist() == pytest.approx(theirs.columns[name].to_pylist(), rel=1e-6, nan_ok=True)


SPEC_NAMES = [feature.name for feature in SPEC.features if feature.kind == "number"]


def test_inputs_for_serving_equal_the_encoded_frame(market):
    store = MemoryStore.of(market, spec=SPEC)
    encoder = Encoder.fit(backfill(market, market.slates, spec=SPEC))
    items = encoder.encode_items(catalogue_columns(store.catalogue, SPEC))
    for slate in table_to_slates(market.slates):
        rows = np.arange(len(store.catalogue), dtype=np.int32)[::-1]
        known = store.lookup(slate, rows)
        ours, theirs = known.inputs(encoder, items), encoder.encode(known.frame())
        for name in vars(theirs):
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name), err_msg=name)


def test_logged_rows_keep_the_numbers_of_the_whole_list(market):
    store = MemoryStore.of(market, spec=SPEC)
    slate = table_to_slates(market.slates)[0]
    known = store.lookup(slate, np.arange(12, dtype=np.int32))
    keep = np.array([3, 7, 11])
    numeric, categorical = arrays(known.frame(keep))
    whole, _ = arrays(known.frame())
    np.testing.assert_array_equal(numeric["price_rank"], whole["price_rank"][keep])
    assert categorical["item_id"].tolist() == ["i3", "i7", "i11"]
    assert len(numeric["user_clicks"]) == 1


def test_carts_of_items_are_served_as_backfilled(market):
    spec = standard_spec(extra=("carts",))
    frame = backfill(market, market.slates, spec=spec)
    last = len(market.slates) - 1
    slate = table_to_slates(market.slates)[last]
    served = answer(MemoryStore.of(market, spec=spec, until=slate.time), slate).frame()
    assert_same(served, select_requests(frame, np.arange(last + 1) == last))
    events = market.feedback.select(["event", "item_id", "time"]).to_pylist()
    carts = [e["item_id"] for e in events if e["event"] == "cart" and e["time"] < slate.time]
    known = set(market.items["item_id"].to_pylist())
    assert served.columns["carts"].to_pylist() == [carts.count(item) * (item in known) for item in slate.item_id]
