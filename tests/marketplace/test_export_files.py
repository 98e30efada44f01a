"""Exports come as one file, packed, as JSON lines, as daily files or as a partitioned folder: the same rows in each."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from marketplace.datasets.exports import read_export
from marketplace.datasets.mapping import Export
from marketplace.finding import DataError

ROWS = [
    {"day": "2026-03-01", "sku": "a", "at": "2026-03-01 10:00:00"},
    {"day": "2026-03-02", "sku": "b", "at": "2026-03-02 11:00:00"},
]
CSV = ["day,sku,at\n", *(",".join(row.values()) + "\n" for row in ROWS)]


def packed(folder: Path) -> str:
    with gzip.open(folder / "events.csv.gz", "wt") as file:
        file.writelines(CSV)
    return "events.csv.gz"


def lines(folder: Path) -> str:
    (folder / "events.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return "events.jsonl"


def daily(folder: Path) -> str:
    for day, row in enumerate(CSV[1:], start=1):
        (folder / f"events-{day}.csv").write_text(CSV[0] + row)
    return "events-*.csv"


def whole_folder(folder: Path) -> str:
    (folder / "events").mkdir()
    daily(folder / "events")
    return "events"


def partitions(folder: Path) -> str:
    pq.write_to_dataset(pa.Table.from_pylist(ROWS), folder / "events", partition_cols=["day"])
    return "events"


@pytest.mark.parametrize("write", [packed, lines, daily, whole_folder, partitions])
def test_the_same_rows_however_they_are_stored(tmp_path, write):
    table, unused, findings = read_export(tmp_path, Export(file=write(tmp_path), columns={}), {*ROWS[0]})
    assert (unused, findings) == ([], [])
    text = [{name: str(cell) for name, cell in row.items()} for row in table.select(list(ROWS[0])).to_pylist()]
    assert text == ROWS


def test_an_empty_text_is_a_missing_value_in_every_format(tmp_path):
    rows = {"sku": ["a", "b", "c"], "organic": ["yes", "", "no"]}
    pq.write_table(pa.table(rows), tmp_path / "text.parquet")
    pq.write_table(
        pa.table(rows | {"organic": pa.array(rows["organic"]).dictionary_encode()}), tmp_path / "codes.parquet"
    )
    (tmp_path / "text.csv").write_text("sku,organic\na,yes\nb,\nc,no\n")
    (tmp_path / "text.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pa.table(rows).to_pylist()))
    for file in ("text.parquet", "codes.parquet", "text.csv", "text.jsonl"):
        table, *_ = read_export(tmp_path, Export(file=file, columns={}), {*rows})
        assert table["organic"].to_pylist() == ["yes", None, "no"], file


def test_a_pattern_that_names_no_file_is_said_so(tmp_path):
    with pytest.raises(DataError, match="no file is called"):
        read_export(tmp_path, Export(file="2026-*.csv", columns={}), ())
