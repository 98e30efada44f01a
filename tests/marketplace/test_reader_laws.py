"""What every reader promises, on the first rows of each data set at hand and on the page's own exports."""

import gzip
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from pkgutil import resolve_name

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from marketplace.check import check
from marketplace.dataset import SCHEMAS, Dataset, load_dataset
from marketplace.datasets import complete_journey
from marketplace.datasets.online_retail import read_online_retail
from marketplace.datasets.open_bandit import read_open_bandit
from marketplace.datasets.own import read_own
from marketplace.datasets.readers import READERS
from marketplace.datasets.trivago import read_trivago
from marketplace.finding import errors
from marketplace.splits import microseconds

HERE = Path(__file__).parents
DATA = Path(os.environ.get("VALUE_MODEL_DATA", HERE[3] / "shared" / "data"))
PAGE = HERE[2] / "docs" / "own_data.md"
ROWS = 3000


@dataclass(frozen=True)
class Case:
    """`source` holds the files; `log` is the one whose rows are events or impressions."""

    read: Callable[[Path], Dataset]
    source: Callable[[], Path]
    log: str
    others: tuple[str, ...] = ()
    numbered: bool = False  # names of events are rows of the file
    whole: str = ""  # what `read` takes: the folder, or this file in it


def page() -> Path:
    return PAGE


CASES = {
    "trivago": Case(
        read_trivago, lambda: DATA / "trivago", "trivago_val_100k.parquet", whole="trivago_val_100k.parquet"
    ),
    "online-retail": Case(
        read_online_retail, lambda: DATA / "online_retail", "online_retail.parquet", (), True, "online_retail.parquet"
    ),
    "complete-journey": Case(
        complete_journey.read,
        complete_journey.package_folder,
        "transactions.parquet",
        ("products.parquet", "demographics.parquet"),
        True,
    ),
    "open-bandit": Case(
        read_open_bandit, lambda: DATA / "open_bandit" / "random" / "all", "all.csv.gz", ("item_context.csv",)
    ),
    "own": Case(
        read_own,
        page,
        "impressions.csv",
        ("products.csv", "sellers.csv", "events.csv", "mapping.toml"),
        whole="mapping.toml",
    ),
}


def read_table(path: Path) -> pa.Table:
    if path.suffix == ".parquet":
        return pq.read_table(path)
    text = {name: pa.string() for name in pacsv.open_csv(path).schema.names}
    return pacsv.read_csv(path, convert_options=pacsv.ConvertOptions(column_types=text))


def write_table(table: pa.Table, path: Path) -> None:
    if path.suffix == ".parquet":
        pq.write_table(table, path)
        return
    with gzip.open(path, "wb") if path.suffix == ".gz" else path.open("wb") as file:
        pacsv.write_csv(table, file)


@pytest.fixture(params=CASES)
def case(request, tmp_path):
    """The case, and a folder with its files, the log cut short."""
    chosen = CASES[request.param]
    try:
        source = chosen.source()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    if source == PAGE:
        for name, text in re.findall(r"```(?:toml|csv)\n# (\S+)\n(.*?)```", PAGE.read_text("utf-8"), flags=re.S):
            (tmp_path / name).write_text(text, "utf-8")
        return chosen, tmp_path
    if not (source / chosen.log).exists():
        pytest.skip(f"{source / chosen.log} is not at hand")
    for name in chosen.others:
        (tmp_path / name).write_bytes((source / name).read_bytes())
    write_table(read_table(source / chosen.log).slice(0, ROWS), tmp_path / chosen.log)
    return chosen, tmp_path


def read(chosen: Case, folder: Path) -> Dataset:
    return chosen.read(folder / chosen.whole)


def rows_of(dataset: Dataset, name: str, *, without: str = "") -> list[str]:
    """The table's rows as text, in no order: NaN equals NaN."""
    table = getattr(dataset, name)
    kept = [column for column in table.column_names if column != without]
    return sorted(map(repr, table.select(kept).to_pylist()))


@pytest.mark.parametrize("name", READERS)
def test_every_row_of_the_list_is_a_reader_with_a_licence(name, tmp_path):
    reader = READERS[name]
    assert callable(resolve_name(f"marketplace.datasets.{reader.function}"))
    assert reader.licence
    if reader.file is not None:
        with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path / reader.file))):
            reader.read(tmp_path)


def test_tables_follow_their_schema_sorted_by_time_without_errors(case):
    dataset = read(*case)
    for name, schema in SCHEMAS.items():
        assert getattr(dataset, name).schema.equals(schema, check_metadata=True)
    for table in (dataset.slates, dataset.feedback):
        assert (np.diff(microseconds(table["time"])) >= 0).all()
    assert errors(check(dataset)) == []


def test_saving_and_loading_give_the_same_bits(case, tmp_path):
    dataset = read(*case)
    dataset.save(tmp_path / "saved")
    loaded = load_dataset(tmp_path / "saved")
    for name in SCHEMAS:
        assert getattr(loaded, name).equals(getattr(dataset, name)) or rows_of(loaded, name) == rows_of(dataset, name)
    rest = [field.name for field in fields(Dataset) if field.name not in SCHEMAS]
    assert [getattr(loaded, name) for name in rest] == [getattr(dataset, name) for name in rest]


def test_the_order_of_rows_does_not_matter(case):
    chosen, folder = case
    straight = read(chosen, folder)
    log = read_table(folder / chosen.log)
    write_table(log.take(np.random.default_rng(0).permutation(len(log))), folder / chosen.log)
    shuffled = read(chosen, folder)
    for name in ("slates", "feedback", "users", "merchants"):
        without = "feedback_id" if chosen.numbered else ""
        assert rows_of(shuffled, name, without=without) == rows_of(straight, name, without=without)


def test_an_empty_log_is_refused_in_words(case):
    chosen, folder = case
    write_table(read_table(folder / chosen.log).slice(0, 0), folder / chosen.log)
    with pytest.raises(ValueError, match="no rows"):
        read(chosen, folder)
