"""Purchase-only data: baskets become requests, candidates are labelled with what was then bought."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from marketplace.baskets import baskets
from marketplace.dataset import Dataset
from marketplace.schema import FEEDBACK, ITEMS, MERCHANTS, SLATE, USERS, conform, empty
from marketplace.slate_columns import flat
from retrieval.basket_candidates import labelled

START = datetime(2025, 1, 1, tzinfo=UTC)


@pytest.fixture
def shop() -> Dataset:
    """Two baskets of one household and one of another; `gone` is not in the catalogue."""
    lines = [
        ("b", "h1", "milk", 2, 1.0),
        ("b", "h1", "milk", 2, 1.0),
        ("b", "h1", "bread", 2, 3.0),
        ("a", "h2", "bread", 1, 3.0),
        ("a", "h2", "gone", 1, 9.0),
        ("c", "h1", "tea", 3, 5.0),
    ]
    feedback = [
        {
            "feedback_id": str(place), "event": "order", "time": START + timedelta(days=day), "user_id": household,
            "item_id": item, "amount": amount, "currency": "USD", "session_id": basket,
        }
        for place, (basket, household, item, day, amount) in enumerate(lines)
    ]  # fmt: skip
    items = [
        {"item_id": name, "merchant_id": "m", "category": "food", "price": 1.0, "currency": "USD", "in_stock": True}
        for name in ("tea", "milk", "bread")
    ]
    return Dataset(
        name="shop",
        currency="USD",
        items=conform(pa.Table.from_pylist(items), ITEMS, where="items"),
        merchants=empty(MERCHANTS),
        users=empty(USERS),
        slates=empty(SLATE),
        feedback=conform(pa.Table.from_pylist(feedback), FEEDBACK, where="feedback"),
    )


def test_a_trip_is_a_request_with_the_distinct_known_items_it_bought(shop):
    trips = baskets(shop)
    assert trips["request_id"].to_pylist() == ["a", "b", "c"]
    assert trips["user_id"].to_pylist() == ["h2", "h1", "h1"]
    assert [sorted(items) for items in trips["item_id"].to_pylist()] == [["bread"], ["bread", "milk"], ["tea"]]


def test_nothing_is_said_to_have_been_shown(shop):
    assert not np.asarray(flat(baskets(shop), "position")).any()


def test_candidates_are_labelled_with_the_orders_of_their_trip_and_stay_unshown(shop):
    joined = labelled(baskets(shop).slice(0, 2), shop.feedback)
    item = flat(joined.slates, "item_id").to_pylist()
    value = dict(zip(zip(["a", "b", "b"], item, strict=True), joined.labels["order_value"].to_pylist(), strict=True))
    assert value == {("a", "bread"): 3.0, ("b", "bread"): 3.0, ("b", "milk"): 2.0}
    assert joined.counts.orphan_item == 1  # the order of what was no candidate
    assert not np.asarray(flat(joined.slates, "position")).any()
