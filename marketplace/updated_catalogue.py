"""Items and merchants as a log's records moved them on from the tables that a bundle or a data set holds."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from marketplace.catalogue_records import (
    ITEM_COLUMNS,
    MERCHANT_COLUMNS,
    CatalogueRecord,
    Subject,
    Written,
)
from marketplace.keys import rows_of
from marketplace.schema import ITEMS, MERCHANTS, conform

MAPS = ("attributes", "numeric", "text")
RATES = ("commission_rate", "quality", "return_rate", "refusal_rate")
NO_NAMES: Mapping[str, Collection[str]] = {}
Row = dict[str, Any]


def moved_items(
    items: pa.Table,
    records: Sequence[CatalogueRecord],
    *,
    currency: str,
    since: int,
    maps: Mapping[str, Collection[str]] = NO_NAMES,
) -> pa.Table:
    """ITEMS rows of the records, in their order, over those that `items` holds.

    What was recorded before `since` (UTC microseconds) is in the rows of `items` already, and does not undo them.
    `maps`: the names that each of MAPS has in every row, missing where no one wrote it.
    """
    base = {row["item_id"]: row for row in items.to_pylist()}
    rows = []
    for record in records:
        row = dict(base.get(record.name, {"item_id": record.name, "currency": currency, "in_stock": True}))
        row |= {name: cell.value for name, cell in fresh(record, record.name in base, since=since).items()}
        for name in MAPS:
            row[name] = list({**dict.fromkeys(maps.get(name, ())), **dict(row.get(name) or {})}.items())
        rows.append(row)
    return _table(rows, ITEMS, where="updated items")


def fresh(record: CatalogueRecord, bundled: bool, *, since: int) -> dict[str, Written]:
    """The fields of a record that move its row: all, or those recorded from `since` on where it is `bundled`."""
    columns = ITEM_COLUMNS if record.subject is Subject.ITEM else MERCHANT_COLUMNS
    fields = {name: record.fields[name] for name in columns if name in record.fields}
    return {name: cell for name, cell in fields.items() if not bundled or cell.time >= since}


def moved_merchants(merchants: pa.Table, records: Sequence[CatalogueRecord], *, since: int) -> pa.Table:
    """MERCHANTS with the records' merchants moved or added; a rate that nobody wrote is the table's median."""
    rows: dict[str, Row] = {row["merchant_id"]: row for row in merchants.to_pylist()}
    median = {name: float(np.median(merchants[name].to_numpy())) if len(merchants) else 0.0 for name in RATES}
    for record in records:
        row = rows.get(record.name)
        moved = {name: cell.value for name, cell in fresh(record, row is not None, since=since).items()}
        rows[record.name] = {"merchant_id": record.name, **median, **(row or {}), **moved}
    return _table(list(rows.values()), MERCHANTS, where="updated merchants")


def updated(table: pa.Table, moved: pa.Table, *, key: str) -> pa.Table:
    """`table` with the rows of `moved` in place of those of the same `key`, and behind them the new ones."""
    place = rows_of(table[key], moved[key])
    kept = table.filter(pa.array(place < 0))
    return pa.concat_tables([kept, moved]) if len(moved) else table


def _table(rows: list[Row], schema: pa.Schema, *, where: str) -> pa.Table:
    columns = {field.name: pa.array([row.get(field.name) for row in rows], _plain(field.type)) for field in schema}
    return conform(pa.table(columns), schema, where=where)


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind
