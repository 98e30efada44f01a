"""Open Bandit: what ZOZOTOWN's random policy showed in one campaign of fashion items, and what was clicked.

A row of the log is an item at one of three places of a page whose other places it does not say: a slate of one item,
with its position and its propensity. The data names no shopper: those who share all four hashed features are one.
Licence: CC BY 4.0 (Saito et al., 2021, "Open Bandit Dataset and Pipeline").
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from marketplace.dataset import Dataset
from marketplace.datasets.columns import identifiers, merchants, table, with_rows
from marketplace.datasets.impressions import group
from marketplace.datasets.own import DEFAULTS
from marketplace.schema import FEEDBACK, ITEMS, TIME, USERS, SchemaError

CURRENCY = "USD"  # the data has no amounts
SHOPPER = [f"user_feature_{i}" for i in range(4)]
REQUEST = ""  # the log's first column has no name
LOG = [REQUEST, "timestamp", "item_id", "position", "click", "propensity_score", *SHOPPER]
BRAND, CATEGORY = "item_feature_3", "item_feature_1"


def read_open_bandit(folder: Path) -> Dataset:
    """The campaign in `folder` (item_context.csv and one *.csv.gz); raises FileNotFoundError, SchemaError."""
    lines = _lines(folder)
    items = _items(_csv(folder / "item_context.csv", ["item_id", BRAND, CATEGORY]))
    shoppers = pc.unique(lines["user"])
    slates, *_ = group(_impressions(lines), items, name="open-bandit")
    return Dataset(
        name="open-bandit",
        currency=CURRENCY,
        items=items,
        merchants=merchants(pc.unique(items["merchant_id"]).cast(pa.string()), where="Open Bandit brands"),
        users=table(USERS, {"user_id": shoppers}, rows=len(shoppers), where="Open Bandit shoppers"),
        slates=slates,
        feedback=_clicks(lines),
        notes=(
            "Clicks only: nothing was ordered, and the data has no prices (0) and no currency (USD stands for none).",
            "Every row is a slate of one item: which items stood beside it is not in the data.",
            "Merchants: the hashed item feature 3 stands in for a brand, feature 1 for a category.",
            "Shoppers: all who share the four hashed user features are one.",
            "Propensities: P(the item at its position), given nothing of the places above.",
        ),
        context_features=tuple(SHOPPER),
        has_text=False,
    )


def _csv(path: Path, columns: list[str]) -> pa.Table:
    options = pacsv.ConvertOptions(include_columns=columns, column_types={"timestamp": TIME})
    try:
        return pacsv.read_csv(path, convert_options=options).combine_chunks()
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        raise SchemaError(f"{path} is not a file of Open Bandit with columns {columns}: {error}") from error


def _lines(folder: Path) -> pa.Table:
    """The log by time, with `request`, its first column, and `user`."""
    logs = sorted(folder.glob("*.csv.gz"))
    if len(logs) != 1:
        raise FileNotFoundError(f"{folder} holds {len(logs)} logs (*.csv.gz): name the folder of one campaign.")
    lines = with_rows(_csv(logs[0], LOG), logs[0])
    lines = lines.append_column("request", lines[REQUEST].cast(pa.string()))
    user = pc.binary_join_element_wise(*(lines[name] for name in SHOPPER), "")
    return (
        lines.append_column("user", user).sort_by([("timestamp", "ascending"), (REQUEST, "ascending")]).combine_chunks()
    )


def _items(products: pa.Table) -> pa.Table:
    columns = {
        "item_id": identifiers(products["item_id"]),
        "merchant_id": products[BRAND],
        "category": products[CATEGORY],
        "price": 0.0,
        "currency": CURRENCY,
        "in_stock": True,
    }
    return table(ITEMS, columns, rows=len(products), where="Open Bandit items")


def _impressions(lines: pa.Table) -> dict[str, pa.Array]:
    """One row an impression, as `group` takes them."""
    columns = {
        "request_id": lines["request"],
        "time": lines["timestamp"],
        "user_id": lines["user"],
        "item_id": identifiers(lines["item_id"]).dictionary_decode(),
        "position": lines["position"].cast(pa.int32()),
        "propensity": lines["propensity_score"],
    } | {f"context.{name}": lines[name] for name in SHOPPER}
    constants = DEFAULTS["slates"] | {"currency": CURRENCY, "source": "random"}
    columns |= {name: pa.array([text] * len(lines)) for name, text in constants.items()}
    return {
        name: cells.combine_chunks() if isinstance(cells, pa.ChunkedArray) else cells for name, cells in columns.items()
    }


def _clicks(lines: pa.Table) -> pa.Table:
    clicked = lines.filter(pc.equal(lines["click"], 1))
    columns = {
        "feedback_id": clicked["request"],
        "request_id": clicked["request"],
        "event": "click",
        "time": clicked["timestamp"],
        "user_id": clicked["user"],
        "item_id": identifiers(clicked["item_id"]),
    }
    return table(FEEDBACK, columns, rows=len(clicked), where="Open Bandit clicks")
