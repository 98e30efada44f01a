"""UCI Online Retail: a year of invoices of one British wholesaler of gifts, with returns, without impressions.

A line with a negative quantity on a cancellation (invoice "C...") is a return, its amount what is paid back; any other
line is an order of quantity x price in GBP. An invoice is the session. Licence: CC BY 4.0 (Chen, 2015,
doi:10.24432/C5BW33).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from marketplace.dataset import Dataset
from marketplace.datasets.columns import merchants, table, with_rows
from marketplace.schema import FEEDBACK, ITEMS, SLATE, TIME, USERS, SchemaError, empty

CURRENCY, MERCHANT = "GBP", "online-retail"
COLUMNS = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country")
COUNTRIES = {
    "Australia": "AU", "Austria": "AT", "Bahrain": "BH", "Belgium": "BE", "Brazil": "BR", "Canada": "CA",
    "Cyprus": "CY", "Czech Republic": "CZ", "Denmark": "DK", "EIRE": "IE", "Finland": "FI", "France": "FR",
    "Germany": "DE", "Greece": "GR", "Hong Kong": "HK", "Iceland": "IS", "Israel": "IL", "Italy": "IT",
    "Japan": "JP", "Lebanon": "LB", "Lithuania": "LT", "Malta": "MT", "Netherlands": "NL", "Norway": "NO",
    "Poland": "PL", "Portugal": "PT", "RSA": "ZA", "Saudi Arabia": "SA", "Singapore": "SG", "Spain": "ES",
    "Sweden": "SE", "Switzerland": "CH", "USA": "US", "United Arab Emirates": "AE", "United Kingdom": "GB",
}  # fmt: skip


def read_online_retail(path: Path) -> Dataset:
    """The invoices of `path` (Parquet) as orders and returns; raises FileNotFoundError, SchemaError."""
    every = _lines(Path(path))
    lines = every[every["UnitPrice"] > 0].reset_index(drop=True)
    return Dataset(
        name="online-retail",
        currency=CURRENCY,
        items=_items(every),
        merchants=merchants([MERCHANT], country="GB", where="Online Retail merchant"),
        users=_users(every),
        slates=empty(SLATE),
        feedback=_feedback(lines),
        notes=(
            "purchases only: no impressions, so no click rate",
            f"{len(every) - len(lines):,} of {len(every):,} lines are left out: stock corrections, lines without price",
            f"{lines['CustomerID'].isna().sum():,} lines have no customer: each such invoice is a guest of its own",
            "stock codes that do not begin with a digit (postage, manual, fees) are category service and not in stock",
            "the data has no categories; price and name are those of the first sale; times are read as London's",
            "one seller, so one merchant; commission and rates are not recorded: 0",
        ),
    )


def _lines(path: Path) -> pd.DataFrame:
    """All lines by time, `time` in UTC and `user` being the customer or the invoice's guest."""
    try:
        lines = with_rows(pd.read_parquet(path, columns=list(COLUMNS)), path)
    except (pa.ArrowInvalid, KeyError) as error:
        raise SchemaError(f"{path} is not Online Retail as Parquet with columns {COLUMNS}: {error}") from error
    london = lines["InvoiceDate"].dt.tz_localize("Europe/London", ambiguous=True, nonexistent="shift_forward")
    user = lines["CustomerID"].astype("Int64").astype("string").fillna("guest " + lines["InvoiceNo"].astype("string"))
    return lines.assign(time=london.dt.tz_convert("UTC"), user=user).sort_values("time", kind="stable")


def _feedback(lines: pd.DataFrame) -> pa.Table:
    returned = lines["Quantity"] < 0
    columns = {
        "feedback_id": lines.index.astype(str).to_numpy(),
        "event": np.where(returned, "return", "order"),
        "time": pa.array(lines["time"].dt.tz_localize(None).to_numpy()).cast(pa.timestamp("us")).cast(TIME),
        "user_id": lines["user"].to_numpy(),
        "item_id": lines["StockCode"].to_numpy(),
        "amount": (lines["Quantity"].abs() * lines["UnitPrice"]).to_numpy(),
        "currency": CURRENCY,
        "session_id": lines["InvoiceNo"].to_numpy(),
    }
    return table(FEEDBACK, columns, rows=len(lines), where="Online Retail lines")


def _items(lines: pd.DataFrame) -> pa.Table:
    """All stock codes; price and name at the first sale, price 0 and not in stock where it was never sold."""
    sales = (
        lines[(lines["UnitPrice"] > 0) & (lines["Quantity"] > 0)].drop_duplicates("StockCode").set_index("StockCode")
    )
    codes = lines["StockCode"].drop_duplicates()
    product = codes.str[0].str.isdigit().to_numpy()
    first = sales.reindex(codes)
    columns = {
        "item_id": codes.to_numpy(),
        "merchant_id": MERCHANT,
        "category": np.where(product, "unknown", "service"),
        "name": first["Description"].to_numpy(),
        "price": first["UnitPrice"].fillna(0.0).to_numpy(),
        "currency": CURRENCY,
        "in_stock": product & first["UnitPrice"].notna().to_numpy(),
    }
    return table(ITEMS, columns, rows=len(codes), where="Online Retail stock codes")


def _users(lines: pd.DataFrame) -> pa.Table:
    customers = lines[lines["CustomerID"].notna()].drop_duplicates("user")
    columns = {"user_id": customers["user"].to_numpy(), "country": customers["Country"].map(COUNTRIES).to_numpy()}
    return table(USERS, columns, rows=len(customers), where="Online Retail customers")
