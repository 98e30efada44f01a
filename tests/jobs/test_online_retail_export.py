"""Online Retail through a mapping, session ids left out: what the check counts."""

from datetime import UTC, datetime

import pandas as pd
import pytest

from jobs.check import run_check
from jobs.data import data_root
from marketplace.finding import errors

FILE = data_root() / "online_retail" / "online_retail.parquet"
NOW = datetime(2026, 6, 1, tzinfo=UTC)
MAPPING = f"""
name = "retail"
currency = "GBP"
time_zone = "Europe/London"
[items]
file = "catalogue.csv"
columns = {{ item_id = "StockCode", name = "Description", price = "UnitPrice" }}
constants = {{ merchant_id = "online-retail" }}
[feedback]
file = "{FILE}"
columns = {{ order_id = "InvoiceNo", time = "InvoiceDate", user_id = "CustomerID", item_id = "StockCode", \
quantity = "Quantity", unit_price = "UnitPrice" }}
constants = {{ event = "order" }}
"""


@pytest.fixture(scope="module")
def mapping(tmp_path_factory):
    if not FILE.exists():
        pytest.skip(f"{FILE} does not exist")
    folder, lines = tmp_path_factory.mktemp("retail"), pd.read_parquet(FILE)
    sold = lines[(lines["UnitPrice"] > 0) & (lines["Quantity"] > 0)].drop_duplicates("StockCode")
    sold[["StockCode", "Description", "UnitPrice"]].to_csv(folder / "catalogue.csv", index=False)
    (folder / "mapping.toml").write_text(MAPPING)
    return folder / "mapping.toml"


@pytest.mark.slow
def test_the_check_counts_visits_guests_and_what_is_left_out(mapping):
    checked = run_check(mapping, now=NOW)
    assert not errors(checked.findings)
    assert len(checked.dataset.feedback) == 541_909 - 2  # two lines adjust bad debt, by a negative price
    assert any("name no session" in note for note in checked.dataset.notes)
    assert any("135,080 rows of feedback name no shopper" in note for note in checked.dataset.notes)
    kinds = checked.dataset.feedback["event"].to_pylist()
    assert kinds.count("return") == 10_624
