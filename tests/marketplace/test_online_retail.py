"""Online Retail as read equals the published counts, returns included."""

import os
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from marketplace.check import check
from marketplace.datasets import online_retail
from marketplace.finding import errors
from marketplace.schema import SchemaError

ROOT = Path(__file__).parents[2]
PATH = Path(os.environ.get("VALUE_MODEL_DATA", ROOT.parent / "shared" / "data")) / "online_retail/online_retail.parquet"


@pytest.fixture(scope="module")
def dataset():
    if not PATH.exists():
        pytest.skip(f"{PATH} is not there; set VALUE_MODEL_DATA to the folder that holds online_retail/")
    return online_retail.read_online_retail(PATH)


def test_counts_are_those_of_the_data_page(dataset):
    left_out = 2_517  # 2,515 lines at price 0 and 2 adjustments of bad debt
    assert len(dataset.feedback) + left_out == 541_909
    assert f"{left_out:,} of 541,909 lines" in " ".join(dataset.notes)
    assert len(dataset.users) == 4_372
    assert len(dataset.items) == 4_070
    assert len(set(online_retail.COUNTRIES.values())) == 38 - 3  # Channel Islands, European Community, Unspecified


def test_returns_are_the_cancellations_with_what_is_paid_back(dataset):
    returns = dataset.feedback.filter(pc.equal(dataset.feedback["event"].cast(pa.string()), "return"))
    assert len(returns) == 9_288
    assert pc.all(pc.starts_with(returns["session_id"].cast(pa.string()), "C")).as_py()
    raw = pd.read_parquet(PATH)
    paid_back = -(raw["Quantity"] * raw["UnitPrice"])[raw["InvoiceNo"].str.startswith("C")].sum()
    assert pc.sum(returns["amount"]).as_py() == pytest.approx(paid_back)


def test_only_products_that_were_sold_are_in_stock(dataset):
    items = dataset.items.to_pandas().set_index("item_id")
    assert not items.loc[["POST", "DOT", "M", "BANK CHARGES"], "in_stock"].any()
    assert items.loc["85123A", "in_stock"]
    assert items.loc["85123A", "name"] == "WHITE HANGING HEART T-LIGHT HOLDER"
    assert items.loc["85123A", "price"] == 2.55
    assert (items.loc[items["in_stock"], "price"] > 0).all()


def test_nothing_in_it_is_unusable(dataset):
    assert errors(check(dataset)) == []


def test_another_file_is_refused(tmp_path):
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "other.parquet")
    with pytest.raises(SchemaError, match="is not Online Retail"):
        online_retail.read_online_retail(tmp_path / "other.parquet")
