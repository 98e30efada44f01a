"""What the simulated platform recorded: its schemas, its order in time, and that the same seed gives the same log."""

from dataclasses import replace
from datetime import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from marketplace.schema import FEEDBACK, ITEMS, MERCHANTS, SLATE, SURFACES, USERS, conform
from marketplace.simulator import SimulatorConfig, simulate


def feedback_frame(simulation) -> pd.DataFrame:
    frame = simulation.dataset.feedback.to_pandas()
    return frame.astype(dict.fromkeys(("event", "item_id", "user_id", "detail"), str))


@pytest.mark.parametrize(
    ("name", "schema"),
    [("items", ITEMS), ("merchants", MERCHANTS), ("users", USERS), ("slates", SLATE), ("feedback", FEEDBACK)],
)
def test_tables_follow_their_schema(small, name, schema):
    table = getattr(small.dataset, name)
    assert table.schema.equals(schema, check_metadata=True)
    table.validate(full=True)
    assert conform(table, schema, where=name).equals(table)


def test_slates_and_feedback_are_sorted_and_named_once(small):
    for table, key in ((small.dataset.slates, "request_id"), (small.dataset.feedback, "feedback_id")):
        times = table["time"].cast(pa.int64()).to_numpy()
        assert (np.diff(times) >= 0).all()
        assert pc.count_distinct(table[key]).as_py() == len(table)


def test_the_same_seed_gives_the_same_log_and_another_seed_another(small):
    again = simulate(SimulatorConfig.small(), np.random.default_rng(0)).dataset
    other = simulate(SimulatorConfig.small(), np.random.default_rng(7)).dataset
    for name in ("items", "merchants", "users", "slates", "feedback"):
        assert getattr(again, name).equals(getattr(small.dataset, name))
    assert not other.feedback.equals(small.dataset.feedback)


def test_every_step_implies_the_one_before_and_comes_after_it(small):
    frame = feedback_frame(small)
    key = ["request_id", "item_id"]
    for later, earlier in (("click", "impression"), ("cart", "click"), ("order", "cart"), ("return", "order")):
        pair = frame[frame.event == later].merge(frame[frame.event == earlier], on=key, how="left")
        assert len(pair) == (frame.event == later).sum() > 0
        assert (pair.time_x > pair.time_y).all()
    assert not frame.duplicated([*key, "event"]).any()


def test_feedback_answers_what_the_slate_showed_to_that_user(small):
    slates = small.dataset.slates.select(["request_id", "user_id", "item_id", "time"]).to_pandas()
    shown = slates.explode("item_id").astype({"user_id": str, "item_id": str})
    joined = feedback_frame(small).merge(shown, on=["request_id", "item_id", "user_id"], how="left")
    assert (joined.time_x >= joined.time_y).all()


def test_money_is_recorded_for_orders_and_their_returns_only(small):
    frame = feedback_frame(small)
    paid = frame.event.isin(["order", "return"])
    assert (frame.amount.notna() == paid).all()
    assert (frame.amount[paid] > 0).all()
    orders, returns = (
        frame[frame.event == event].set_index(["request_id", "item_id"]) for event in ("order", "return")
    )
    assert (orders.amount.loc[returns.index] == returns.amount).all()
    assert set(returns.detail) == {"refused", "returned"}


def test_pages_and_queries_belong_to_their_surfaces(small):
    frame = small.dataset.slates.to_pandas()
    for column, surface in (("query", "search"), ("page_merchant_id", "store_page"), ("page_item_id", "product_page")):
        assert (frame[column].notna() == (frame.surface == surface)).all()
    assert set(frame.surface) == set(SURFACES)
    store = frame[frame.surface == "store_page"]
    assert all(set(row.merchant_id) == {row.page_merchant_id} for row in store.itertuples())
    product = frame[frame.surface == "product_page"]
    assert all(row.page_item_id not in row.item_id for row in product.itertuples())


def test_positions_count_up_and_no_item_is_shown_twice_or_before_its_launch(small):
    launch = small.dataset.items["available_from"].to_pandas().set_axis(small.dataset.items["item_id"].to_pylist())
    for row in small.dataset.slates.to_pandas().itertuples():
        assert (row.position == np.arange(1, len(row.item_id) + 1)).all()
        assert len(set(row.item_id)) == len(row.item_id)
        assert not (launch.loc[row.item_id] > row.time).any()


def test_candidates_that_were_not_shown_can_be_kept(small):
    kept = simulate(replace(SimulatorConfig.small(), log_considered=True), np.random.default_rng(0)).dataset
    rows = kept.slates.select(["item_id", "position", "propensity"]).to_pandas()
    shown = [row.item_id[row.position > 0].tolist() for row in rows.itertuples()]
    assert shown == small.dataset.slates["item_id"].to_pylist()
    assert all(np.isnan(row.propensity[row.position == 0]).all() for row in rows.itertuples())
    assert sum(len(row.item_id) for row in rows.itertuples()) > 1.5 * sum(map(len, shown))
    assert kept.feedback.equals(small.dataset.feedback)


def test_names_come_in_arabic_in_english_and_in_both(small):
    texts = small.dataset.items["name"].to_pandas()
    arabic, latin = texts.str.contains("[\u0600-\u06ff]"), texts.str.contains("[A-Za-z]")
    assert min((arabic & latin).mean(), (arabic & ~latin).mean(), (~arabic & latin).mean()) > 0.2
    queries = small.dataset.slates.to_pandas()[["query", "context"]].dropna()
    assert [dict(row)["language"] == "ar" for row in queries.context] == [
        any("\u0600" <= letter <= "\u06ff" for letter in text) for text in queries["query"]
    ]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"bait_share": 1.2}, "bait_share"),
        ({"users": 0}, "users"),
        ({"items": 9}, "categories"),
        ({"price_change": -1.0}, "price_change"),
        ({"start": datetime(2025, 1, 6)}, "time zone"),
    ],
)
def test_a_config_that_makes_no_sense_says_which_number(change, word):
    with pytest.raises(ValueError, match=word):
        replace(SimulatorConfig.small(), **change)


def test_a_tiny_market_still_answers():
    config = SimulatorConfig(requests=40, users=2, items=24, merchants=1, days=1)
    dataset = simulate(config, np.random.default_rng(0)).dataset
    assert 0 < len(dataset.slates) <= 40
    assert min(map(len, dataset.slates["item_id"].to_pylist())) > 0
