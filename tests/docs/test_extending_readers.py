"""The page's reader is a file and a row, and a run reads it by name."""

import pytest
from recipes import blocks

import marketplace.datasets
from jobs.config import RunConfig
from jobs.data import get
from marketplace.check import check
from marketplace.datasets import readers
from marketplace.datasets.readers import Reader
from marketplace.finding import errors

SECTION = "A data set reader"


@pytest.fixture
def corner_shop(tmp_path, monkeypatch):
    """The page's module in the folder of readers, its row in the list, its data in the folder of data."""
    module, row = blocks(SECTION)
    (tmp_path / "corner_shop.py").write_text(module)
    (tmp_path / "corner_shop").mkdir()
    (tmp_path / "corner_shop" / "receipts.csv").write_text(blocks(SECTION, "csv")[0])
    scope: dict = {"Reader": Reader}
    exec(f"rows = {{{row}}}", scope)  # noqa: S102
    monkeypatch.setattr(marketplace.datasets, "__path__", [*marketplace.datasets.__path__, str(tmp_path)])
    monkeypatch.setattr("jobs.data.READERS", readers.READERS | scope["rows"])
    monkeypatch.setenv("VALUE_MODEL_DATA", str(tmp_path))


def test_the_pages_reader_is_read_by_name(corner_shop):
    dataset = get(RunConfig(data="corner-shop"))
    assert dataset.items.select(["item_id", "price"]).to_pylist() == [
        {"item_id": "milk", "price": 2.0},
        {"item_id": "bread", "price": 3.5},
    ]
    assert dataset.feedback["user_id"].to_pylist() == ["bob", "ann", "ann"]
    assert dataset.feedback["amount"].to_pylist() == [2.0, 3.5, 2.25]
    assert errors(check(dataset)) == []
    with pytest.raises(ValueError, match=r"Choose simulated, trivago, .*corner-shop"):
        get(RunConfig(data="corner-store"))
