"""What shoppers did, out of a file of events and out of labels that stand in the rows of impressions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from marketplace.datasets.cells import is_yes_or_no
from marketplace.datasets.fields import Loading, read_column
from marketplace.datasets.mapping import IGNORED
from marketplace.datasets.money import with_amount
from marketplace.finding import TableOrigin
from marketplace.keys import values_of
from marketplace.schema import EVENTS, FEEDBACK, conform
from marketplace.slate_columns import flat, request_of_rows


def events_of_feedback(loading: Loading, columns: Mapping[str, pa.Array], items: pa.Table) -> pa.Table:
    """FEEDBACK rows of the feedback file, in its order; events that the mapping ignores are counted in a note."""
    export = loading.mapping.feedback
    assert export is not None
    row = np.arange(1, len(columns["event"]) + 1)
    ids = pc.binary_join_element_wise(export.file, pa.array(row).cast(pa.string()), ":")
    columns = {"feedback_id": ids} | dict(columns)
    price = values_of(columns["item_id"], items["item_id"], items["price"]).cast(pa.float64())
    columns, back = with_amount(columns, price)
    if back.any():
        loading.notes.append(f"{back.sum():,} order lines of a negative quantity are returns.")
    columns = _of_orders(columns) if "order_id" in columns else columns
    used = pc.not_equal(columns["event"], IGNORED).to_numpy(zero_copy_only=False)
    if not used.all():
        loading.notes.append(f"{(~used).sum():,} events are ignored, as the mapping says.")
    loading.origins["feedback"] = replace(loading.origins["feedback"], rows=row[used])
    return conform(pa.table(columns).filter(pa.array(used)), FEEDBACK, where="feedback")


def _of_orders(columns: dict[str, pa.Array]) -> dict[str, pa.Array]:
    """Each line of an order under the order's name, so that an order that was delivered again is a repeat."""
    order = columns.pop("order_id")
    line = [columns[name].cast(pa.string()) for name in ("event", "item_id", "time", "amount") if name in columns]
    names = pc.binary_join_element_wise(order, *[pc.fill_null(part, "") for part in line], ":")
    return columns | {"feedback_id": pc.coalesce(names, columns["feedback_id"])}


def read_labels(loading: Loading, raw: pa.Table) -> dict[str, pa.Array]:
    """Columns "label.x" of the impressions' rows: whether each event happened, and the amount of an order."""
    export = loading.mapping.slates
    assert export is not None
    columns = {}
    for name, column in export.labels.items():
        truths = name != "amount" and column in raw.column_names and is_yes_or_no(raw[column])
        kind = pa.bool_() if truths else pa.float64()
        values = read_column(loading, ("slates", "labels", name), column, kind, raw).cast(pa.float64())
        columns[f"label.{name}"] = values if name == "amount" else pc.greater(values, 0.0).fill_null(False)
    return columns


def events_of_labels(
    slates: pa.Table, labels: Mapping[str, pa.Array], origin: TableOrigin
) -> tuple[pa.Table, np.ndarray]:
    """FEEDBACK rows at the times of their slates, and the file's row of each; `labels` are flat as the slates' items.

    An order without an amount has the price shown.
    """
    request = request_of_rows(slates)
    parts, rows = [], []
    for name in (name for name in labels if name in EVENTS):
        at = np.flatnonzero(labels[name].to_numpy(zero_copy_only=False))
        of_request = slates.take(pa.array(request[at]))
        cells = {key: of_request[key] for key in ("request_id", "time", "user_id", "session_id", "currency")}
        cells["item_id"] = flat(slates, "item_id").take(pa.array(at))
        cells |= {key: pa.array([name] * len(at), pa.string()) for key in ("event", "detail")}
        shown = flat(slates, "price")
        if name in ("order", "return"):
            cells["amount"] = pc.coalesce(labels.get("amount", shown), shown).take(pa.array(at))
        named = [cells[key].cast(pa.string()) for key in ("request_id", "item_id")]
        cells["feedback_id"] = pc.binary_join_element_wise(*named, name, ":")
        parts.append(conform(pa.table(cells), FEEDBACK, where="labels"))
        assert origin.item_rows is not None
        rows.append(origin.item_rows[at])
    return pa.concat_tables(parts), np.concatenate(rows)


def in_time(loading: Loading, parts: list[tuple[pa.Table, TableOrigin]]) -> pa.Table:
    """All events in the order of time."""
    table = pa.concat_tables([part for part, _ in parts]).unify_dictionaries().combine_chunks()
    rows = np.concatenate([origin.rows for _, origin in parts])
    order = np.argsort(table["time"].cast(pa.int64()).to_numpy(), kind="stable")
    files = " and ".join(dict.fromkeys(origin.file for _, origin in parts))
    loading.origins["feedback"] = replace(parts[0][1], file=files, rows=rows[order])
    return table.take(pa.array(order))
