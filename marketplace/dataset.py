"""A data set: what one market recorded, in the house's columns."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from marketplace.keys import Column, rows_of, values_of
from marketplace.schema import FEEDBACK, ITEMS, MERCHANTS, SLATE, USERS, conform

SCHEMAS = {"items": ITEMS, "merchants": MERCHANTS, "users": USERS, "slates": SLATE, "feedback": FEEDBACK}


@dataclass(frozen=True)
class Dataset:
    """What every reader and the simulator return; tables follow `marketplace.schema`.

    `slates` (SLATE; sorted by time) are the lists that were shown: none in purchase-only data, where `feedback`
    holds orders without a request. `feedback` (FEEDBACK; sorted by time) is the one stream of everything that
    shoppers did, whether or not it answers a slate. `currency` is that of every amount; `currency_rates` how many of it
    one of another currency is worth.

    What suits the data: `segment` groups shoppers (user_segment, user_country, or an entry of the slates' context);
    `context_features` are the entries of the context to learn from; `has_text`: names and queries are worth reading;
    `whole_lists`: what is shown is ranked as a whole list, so that items are compared within it. `mapped_features` are
    the names, among the maps of items, users and slates, that models read (None = all), but for `ignored_features`.
    `closed`: nothing can still come of what was shown; else the newest requests are too young (`marketplace.settled`).
    """

    name: str
    currency: str
    items: pa.Table
    merchants: pa.Table
    users: pa.Table
    slates: pa.Table
    feedback: pa.Table
    notes: tuple[str, ...] = ()
    segment: str = "user_segment"
    context_features: tuple[str, ...] = ("country", "city", "device")
    has_text: bool = True
    whole_lists: bool = False
    mapped_features: tuple[str, ...] | None = None
    ignored_features: tuple[str, ...] = ()
    closed: bool = False
    currency_rates: Mapping[str, float] = field(default_factory=dict)

    @property
    def has_product_pages(self) -> bool:
        """Whether lists on product pages were recorded."""
        return self.slates["page_item_id"].null_count < len(self.slates)

    @property
    def has_impressions(self) -> bool:
        """Whether lists were recorded; without them a click rate has no meaning."""
        return len(self.slates) > 0

    def item_rows(self, item_ids: Column) -> np.ndarray:
        """int32 [m]: rows of `items`; -1 for an item that the catalogue does not hold."""
        return rows_of(item_ids, self.items["item_id"]).astype(np.int32)

    def of_items(self, item_ids: Column, column: str) -> pa.Array:
        """[m]: a column of `items` for each id; null for an item that the catalogue does not hold."""
        return values_of(item_ids, self.items["item_id"], self.items[column])

    def of_users(self, user_ids: Column, column: str) -> pa.Array:
        """[m]: a column of `users` for each id; null for a user that the data set does not describe."""
        return values_of(user_ids, self.users["user_id"], self.users[column])

    def save(self, folder: Path) -> None:
        """Write the tables as Parquet files, and the rest as dataset.json."""
        folder.mkdir(parents=True, exist_ok=True)
        for table in SCHEMAS:
            pq.write_table(getattr(self, table), folder / f"{table}.parquet", compression="zstd")
        about = {spec.name: getattr(self, spec.name) for spec in fields(self) if spec.name not in SCHEMAS}
        (folder / "dataset.json").write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n")


def with_room(items: pa.Table, rows: int, *, currency: str) -> pa.Table:
    """ITEMS with further rows at the end that hold no item: their item_id is "", and they are not in stock."""
    nothing = {"item_id": "", "merchant_id": "", "category": "", "price": 0.0, "currency": currency, "in_stock": False}
    columns = {name: pa.array([value] * rows) for name, value in nothing.items()}
    return pa.concat_tables([items, conform(pa.table(columns), ITEMS, where="room for new items")])


def load_dataset(folder: Path) -> Dataset:
    """The data set that `Dataset.save` wrote; SchemaError where a file does not follow its schema."""
    about = json.loads((folder / "dataset.json").read_text())
    tables = {
        name: conform(pq.read_table(folder / f"{name}.parquet"), schema, where=str(folder / f"{name}.parquet"))
        for name, schema in SCHEMAS.items()
    }
    rest: dict[str, Any] = {key: tuple(cell) if isinstance(cell, list) else cell for key, cell in about.items()}
    return Dataset(**tables, **rest)
