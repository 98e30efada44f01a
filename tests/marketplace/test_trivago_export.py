"""trivago's log written out as a shop's export, and read by a mapping: the data set of the reader, cell by cell."""

from dataclasses import fields

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pytest

from jobs.config import RunConfig
from jobs.data import data_root
from jobs.defaults import spec_of
from marketplace.dataset import SCHEMAS
from marketplace.datasets.own import read_own
from marketplace.datasets.trivago import read_trivago
from marketplace.schema import REQUEST_FIELDS
from marketplace.slate_columns import all_scalars, flat, plain, request_of_rows

FILE = data_root() / "trivago" / "trivago_val_100k.parquet"
REQUEST = ["request_id", "time", "surface", "user_id", "session_id", "query", "currency"]
LISTED = ["item_id", "merchant_id", "price", "source", "merchant_value", "position"]
FEATURES = ("city", "device", "platform", "sort", "sort_filter", "opened_by")
CONTEXT = [*FEATURES, "country", "step", "filters"]
COLUMNS = {
    "items": ["item_id", "merchant_id", "category", "price", "currency", "in_stock"],
    "merchants": ["merchant_id", "commission_rate", "quality", "return_rate", "refusal_rate"],
    "users": ["user_id", "country", "segment"],
    "feedback": [
        "feedback_id", "request_id", "event", "time", "user_id", "item_id", "amount", "currency", "session_id", "detail"
    ],
}  # fmt: skip
VERSIONS = [field.name for field in REQUEST_FIELDS if field.name.endswith("_version")]


def mapping() -> str:
    """Every column under its own name; what the log does not have is empty, as the reader leaves it."""

    def same(names):
        return "{ " + ", ".join(f'{name} = "{name}"' for name in names) + " }"

    tables = "\n".join(f'[{table}]\nfile = "{table}.csv"\ncolumns = {same(names)}' for table, names in COLUMNS.items())
    ignored = [name for name in CONTEXT if name not in FEATURES]
    return f"""
name = "trivago, as_served"
currency = "EUR"
ignore = {ignored}
segment = "city"
has_text = false
whole_lists = true
{tables}
time_format = "epoch_us"
[slates]
file = "slates.csv"
time_format = "epoch_us"
columns = {same(REQUEST + LISTED)}
context = {same(CONTEXT)}
constants = {{ {", ".join(f'{name} = ""' for name in VERSIONS)} }}
"""


def written(values: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Times as microseconds, words as text."""
    if pa.types.is_timestamp(values.type):
        return values.cast(pa.int64())
    return values.cast(plain(values.type))


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The data set of the reader, and that of its export."""
    if not FILE.exists():
        pytest.skip(f"{FILE} does not exist")
    folder, expected = tmp_path_factory.mktemp("trivago"), read_trivago(FILE)
    for table, names in COLUMNS.items():
        columns = {name: written(getattr(expected, table)[name]) for name in names}
        pacsv.write_csv(pa.table(columns), folder / f"{table}.csv")
    slates = expected.slates
    request = pa.array(request_of_rows(slates))
    of_request = {name: written(slates[name]).take(request) for name in REQUEST}
    context = {name: values.take(request) for name, values in all_scalars(slates, "context").items()}
    listed = {name: written(flat(slates, name)) for name in LISTED}
    pacsv.write_csv(pa.table(of_request | listed | context), folder / "slates.csv")
    (folder / "mapping.toml").write_text(mapping(), "utf-8")
    return expected, read_own(folder / "mapping.toml")


def column(table: pa.Table, name: str) -> pa.Array:
    values = table[name].combine_chunks()
    if pa.types.is_map(values.type):
        return values.cast(values.type)
    if pa.types.is_list(values.type):
        return written(values.flatten())
    return written(values)


@pytest.mark.slow
@pytest.mark.parametrize("table", SCHEMAS)
def test_every_cell_is_the_readers(both, table):
    expected, received = (getattr(one, table) for one in both)
    assert len(expected) == len(received) > 0
    for field in SCHEMAS[table]:
        if field.name == "context":
            wanted, seen = (all_scalars(one, "context") for one in (expected, received))
            assert wanted.keys() == seen.keys()
            for name in CONTEXT:  # an empty cell of a CSV is a missing value
                assert seen[name].fill_null("").equals(wanted[name].fill_null("")), name
        elif pa.types.is_map(field.type):
            continue  # the log has no features, no predictions and no weights
        else:
            wanted, seen = (column(one, field.name) for one in (expected, received))
            if pa.types.is_floating(wanted.type):
                wanted, seen = (one.fill_null(np.nan).to_numpy() for one in (wanted, seen))
                assert np.array_equal(wanted, seen, equal_nan=True), field.name
            else:
                assert seen.equals(wanted), field.name


@pytest.mark.slow
def test_so_is_what_suits_the_data(both):
    expected, received = both
    rest = {field.name for field in fields(expected)} - SCHEMAS.keys()
    differing = {name for name in rest if getattr(expected, name) != getattr(received, name)}
    assert differing == {"notes", "context_features", "ignored_features"}
    assert spec_of(received, RunConfig()) == spec_of(expected, RunConfig())
