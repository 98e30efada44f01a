"""Complete Journey as read equals the published counts, and holds nothing that the files do not."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pyarrow.compute as pc
import pytest

from marketplace.datasets import complete_journey
from marketplace.schema import FEEDBACK, ITEMS, MERCHANTS, USERS

pytestmark = pytest.mark.skipif(
    find_spec(complete_journey.PACKAGE) is None, reason=f"{complete_journey.PACKAGE} is not installed"
)


@pytest.fixture(scope="module")
def dataset():
    return complete_journey.read()


def test_counts_are_those_of_the_data_page(dataset):
    assert len(dataset.feedback) == 1_469_307
    assert len(dataset.users) == 2_469
    assert len(dataset.items) == 92_331
    assert len(dataset.merchants) == 6_471


def test_purchases_only_no_impressions_and_a_warning_about_genuineness(dataset):
    assert not dataset.has_impressions
    assert pc.unique(dataset.feedback["event"].cast("string")).to_pylist() == ["order"]
    assert any("genuineness disputed" in note for note in dataset.notes)


def test_tables_follow_their_schemas(dataset):
    tables = (dataset.feedback, dataset.items, dataset.merchants, dataset.users)
    for table, schema in zip(tables, (FEEDBACK, ITEMS, MERCHANTS, USERS), strict=True):
        assert table.schema.equals(schema, check_metadata=True)


def test_feedback_is_sorted_by_time_and_ids_are_unique(dataset):
    times = dataset.feedback["time"].cast("int64").to_numpy()
    assert (np.diff(times) >= 0).all()
    assert pc.count_distinct(dataset.feedback["feedback_id"]).as_py() == len(dataset.feedback)


def test_a_basket_belongs_to_one_household(dataset):
    baskets = dataset.feedback.select(["session_id", "user_id"])
    pairs = len(baskets.group_by(["session_id", "user_id"]).aggregate([]))
    assert pairs == len(baskets.group_by(["session_id"]).aggregate([])) == 155_848


def test_prices_are_positive_and_only_sold_products_are_in_stock(dataset):
    prices = dataset.items["price"].to_numpy()
    assert np.isfinite(prices).all()
    assert (prices > 0).all()
    sold = pc.is_in(dataset.items["item_id"], pc.unique(dataset.feedback["item_id"].cast("string")))
    assert dataset.items["in_stock"].combine_chunks().equals(sold.combine_chunks())


def test_a_folder_without_the_files_says_which_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"transactions\.parquet"):
        complete_journey.read(tmp_path)
