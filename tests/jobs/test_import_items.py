from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.import_items import read_items
from marketplace.finding import DataError


def read(tmp_path, text, *, version=7):
    file = tmp_path / "items.csv"
    file.write_text(text, encoding="utf-8")
    return [item.model_dump(exclude_unset=True) for item in read_items(file, version=version)]


def test_a_csv_is_read_by_its_column_names_and_empty_cells_change_nothing(tmp_path):
    rows = read(
        tmp_path,
        "item_id,price,in_stock,name,attributes.brand,numeric.weight,expires_at\n"
        '0017,9.50,yes,"شاي, أخضر",Nadir,0.5,2026-05-01T00:00:00Z\n'
        "a2,,no,,,,\n",
    )
    assert rows == [
        {
            "item_id": "0017",
            "version": 7,
            "price": 9.5,
            "in_stock": True,
            "name": "شاي, أخضر",
            "attributes": {"brand": "Nadir"},
            "numeric": {"weight": 0.5},
            "expires_at": datetime(2026, 5, 1, tzinfo=UTC),
        },
        {"item_id": "a2", "version": 7, "in_stock": False},
    ]


def test_parquet_keeps_its_types_and_its_own_versions(tmp_path):
    table = pa.table(
        {"item_id": ["a"], "version": [41], "price": [3.0], "hidden": [True], "name": pa.nulls(1, pa.string())}
    )
    pq.write_table(table, tmp_path / "items.parquet")
    (item,) = read_items(tmp_path / "items.parquet", version=1)
    assert item.model_dump(exclude_unset=True) == {"item_id": "a", "version": 41, "price": 3.0, "hidden": True}


def test_every_mistake_is_named_with_its_column_first_row_and_count(tmp_path):
    with pytest.raises(DataError) as refused:
        read(tmp_path, "item_id,price,in_stock\na,9.50,yes\nb,free,yes\nc,-1,perhaps\n,3,yes\nd,free,yes\n")
    lines = str(refused.value).splitlines()
    assert [line.split(": error")[0] for line in lines] == [
        "items.csv, price, row 2",
        "items.csv, price, row 3",
        "items.csv, in_stock, row 3",
        "items.csv, item_id, row 4",
    ]
    assert "'free' (2 rows)" in lines[0]


def test_an_unknown_column_is_refused_with_the_nearest(tmp_path):
    with pytest.raises(
        DataError, match=r"items.csv, prise: error: is no field of an item. Fix: Did you mean 'price'\?"
    ):
        read(tmp_path, "item_id,prise\na,3\n")
