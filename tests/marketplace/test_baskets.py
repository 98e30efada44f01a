"""Purchase-only data: baskets become requests, candidates are labelled with what was then bought."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from marketplace.baskets import baskets, touches
from marketplace.dataset import Dataset
from marketplace.schema import FEEDBACK, ITEMS, MERCHANTS, SLATE, USERS, conform, empty
from marketplace.slate_columns import flat
from marketplace.visits import in_visits, visit_notes
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


def with_sessions(shop: Dataset, sessions: list[str | None]) -> Dataset:
    place = shop.feedback.column_names.index("session_id")
    column = pa.array(sessions).dictionary_encode().cast(FEEDBACK.field("session_id").type)
    return replace(shop, feedback=shop.feedback.set_column(place, FEEDBACK.field("session_id"), column))


def bought(dataset: Dataset) -> list[tuple[str, tuple[str, ...]]]:
    found = baskets(dataset)
    return [
        (user, tuple(sorted(items)))
        for user, items in zip(found["user_id"].to_pylist(), found["item_id"].to_pylist(), strict=True)
    ]


BOUGHT = [("h2", ("bread",)), ("h1", ("bread", "milk")), ("h1", ("tea",))]


@pytest.mark.parametrize(
    "sessions",
    [[None] * 6, ["b"] * 3 + ["a", None, "c"], [""] * 6, ["one"] * 3 + ["one"] * 2 + ["two"]],
    ids=["none", "some", "empty", "one name for two shoppers"],
)
def test_orders_without_a_session_of_their_own_are_parted_by_shopper_and_time_gap(shop, sessions):
    assert bought(with_sessions(shop, sessions)) == BOUGHT


def test_each_visit_has_one_name_that_no_other_has_and_the_notes_count(shop):
    mixed = with_sessions(shop, ["one", "one", None, "one", None, "c"])
    named = in_visits(mixed.feedback)
    assert named["session_id"].null_count == 0
    assert len(set(named["session_id"].to_pylist())) == 5
    assert in_visits(named).equals(named)
    without, shared = visit_notes(mixed.feedback)
    assert without.startswith("2 of 6 events name no session")
    assert shared.startswith("1 session ids")
    assert visit_notes(shop.feedback) == ()


def test_views_that_nothing_learns_from_are_counted_with_the_fix(shop):
    event = pa.array(["view", *["order"] * 5]).dictionary_encode().cast(FEEDBACK.field("event").type)
    viewed = shop.feedback.set_column(shop.feedback.column_names.index("event"), FEEDBACK.field("event"), event)
    (note,) = visit_notes(viewed)
    assert note.startswith("1 of 6 events are view or wishlist")


def test_a_gap_of_half_an_hour_begins_a_visit(shop):
    feedback = shop.feedback.take(pa.array([0, 0, 0]))
    minutes = np.array([0, 29, 59], np.int64) * 60_000_000
    time = pa.array(minutes, pa.timestamp("us", tz="UTC"))
    feedback = feedback.set_column(feedback.column_names.index("time"), FEEDBACK.field("time"), time)
    alone = with_sessions(replace(shop, feedback=feedback), [None] * 3)
    assert in_visits(alone.feedback)["session_id"].to_pylist()[0] == in_visits(alone.feedback)["session_id"][1].as_py()
    assert len(baskets(alone)) == 2


def test_a_run_of_views_of_one_item_is_one_moment_and_the_newest_count(shop):
    found = touches(shop, ("order",), most=10)
    assert found["request_id"].to_pylist() == ["turned to 3", "turned to 0", "turned to 2", "turned to 5"]
    assert flat(found, "item_id").to_pylist() == ["bread", "milk", "bread", "tea"]
    assert touches(shop, ("order",), most=1)["request_id"].to_pylist() == ["turned to 5"]
    assert len(touches(shop, ("click",), most=10)) == 0


def test_nothing_is_said_to_have_been_shown(shop):
    assert not np.asarray(flat(baskets(shop), "position")).any()


def test_candidates_are_labelled_with_the_orders_of_their_trip_and_stay_unshown(shop):
    joined = labelled(baskets(shop).slice(0, 2), shop.feedback)
    item = flat(joined.slates, "item_id").to_pylist()
    value = dict(zip(zip(["a", "b", "b"], item, strict=True), joined.labels["order_value"].to_pylist(), strict=True))
    assert value == {("a", "bread"): 3.0, ("b", "bread"): 3.0, ("b", "milk"): 2.0}
    assert joined.counts.orphan_item == 1  # the order of what was no candidate
    assert not np.asarray(flat(joined.slates, "position")).any()
