"""From one row an impression to one row a request."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from marketplace.datasets.further import map_of
from marketplace.finding import Finding, Severity, TableOrigin, Where, count_of_rows
from marketplace.keys import values_of
from marketplace.schema import ITEM_FIELDS, REQUEST_FIELDS, SLATE, conform
from marketplace.slate_columns import RequestLists, map_of_lists

OF_ITEMS = "The first is used; what differs within a list goes to [slates.numeric] or [slates.categorical]."
NUMBERS = ("retrieval_score", "merchant_value", "value", "propensity")


def group(
    columns: dict[str, pa.Array], items: pa.Table, *, name: str, first_position: int | None = None
) -> tuple[pa.Table, dict[str, pa.Array], TableOrigin, list[Finding]]:
    """SLATE rows by time of the impressions `columns`, their "label.x" by name and flat, the origin, what was odd.

    Items of a slate are in order of position; without positions in that of the file, numbered from the top. A missing
    price or merchant is taken from `items`. A request has the time of its first impression. `columns` is emptied on the
    way, so that many rows are held once.
    """
    request = columns["request_id"].dictionary_encode().indices.to_numpy()
    times = columns["time"].cast(pa.int64()).to_numpy()
    if "position" in columns and first_position is not None:
        columns["position"] = pc.add(columns["position"], 1 - first_position).cast(pa.int32())
    position = columns["position"].to_numpy() if "position" in columns else np.zeros(len(request), np.int32)
    first_time = np.full(request.max(initial=-1) + 1, np.iinfo(np.int64).max)
    np.minimum.at(first_time, request, times)
    order = np.lexsort((np.where(position > 0, position, np.iinfo(np.int32).max), request, first_time[request]))
    starts = np.flatnonzero(np.diff(request[order], prepend=-1))
    offsets = np.append(starts, len(order))
    findings = _doubtful(columns, request, name=name)
    if "position" in columns and first_position is None:
        findings += _from_zero(position, request, name=name)
    columns |= _from_catalogue(columns, items)
    columns["time"] = pa.array(first_time[request]).cast(columns["time"].type)
    if "position" not in columns:
        place = np.arange(len(order)) - np.repeat(starts, np.diff(offsets)) + 1
        columns["position"] = pa.array(place[np.argsort(order)].astype(np.int32))
    by_item = {key: columns.pop(key).take(pa.array(order)) for key in list(columns)}
    labels = _named(by_item, "label")
    return _slates(by_item, offsets), labels, TableOrigin(name, rows=order[starts] + 1, item_rows=order + 1), findings


def _from_catalogue(columns: Mapping[str, pa.Array], items: pa.Table) -> dict[str, pa.Array]:
    return {
        key: pc.coalesce(
            columns.get(key, pa.nulls(len(columns["item_id"]), kind)),
            values_of(columns["item_id"], items["item_id"], items[key]).cast(kind).fill_null(fill),
        )
        for key, kind, fill in (("price", pa.float64(), np.nan), ("merchant_id", pa.string(), "unknown"))
        if key not in columns or columns[key].null_count
    }


def _doubtful(columns: Mapping[str, pa.Array], request: np.ndarray, *, name: str) -> list[Finding]:
    """A request_id with two shoppers is two requests under one name; two times are only odd."""
    findings = []
    first = np.zeros(request.max(initial=-1) + 1, np.int64)
    first[request[::-1]] = np.arange(len(request))[::-1]
    cases = {key: (Severity.WARNING, OF_ITEMS) for key in columns if key.startswith(("context.", "request_"))} | {
        "user_id": (Severity.ERROR, "Give every request an id of its own."),
        "currency": (Severity.ERROR, "Give the rates of others under [currencies], or convert the amounts."),
        "time": (Severity.WARNING, "The earliest is used; write the time of the answer in every row."),
    }
    for key, (severity, fix) in cases.items():
        values = columns[key].dictionary_encode(null_encoding="encode").indices.to_numpy()
        differs = values != values[first[request]]
        if differs.any():
            row = int(np.argmax(differs))
            reason = f"request_id {columns['request_id'][row].as_py()!r} occurs with two values of {key}"
            two = (columns[key][at].as_py() for at in (first[request[row]], row))
            reason += f"{count_of_rows(int(differs.sum()))}: {' and '.join(map(str, two))}."
            findings.append(Finding("lists", Where(name, row=row + 1), reason, fix, severity))
    return findings


def _from_zero(position: np.ndarray, request: np.ndarray, *, name: str) -> list[Finding]:
    """Positions that count from 0: nearly every request has one item at 0, and it is not that it was not shown."""
    requests = len(np.unique(request))
    single = int((np.bincount(request[position == 0], minlength=1) == 1).sum())
    if single < 0.9 * requests or (position == 0).sum() == len(position):
        return []
    reason = f"in {single} of {requests} requests one item stands at 0, so that its events would be lost."
    fix = "Set first_position = 0 under [slates]; or 1, where that item was considered and not shown."
    return [Finding("lists", Where(name, part="position", row=int(np.argmax(position == 0)) + 1), reason, fix)]


def _slates(by_item: dict[str, pa.Array], offsets: np.ndarray) -> pa.Table:
    starts, requests = pa.array(offsets[:-1]), len(offsets) - 1
    cells: dict[str, pa.Array] = {}
    for field in REQUEST_FIELDS:
        if field.name in by_item:
            cells[field.name] = by_item.pop(field.name).take(starts)
    for field in ITEM_FIELDS:
        values = by_item.pop(field.name, pa.array(np.full(offsets[-1], np.nan)) if field.name in NUMBERS else None)
        if values is not None:
            cells[field.name] = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)
    cells["context"] = _context(by_item, starts)
    for column in ("numeric", "categorical"):
        lists = {key: RequestLists(offsets, values) for key, values in _named(by_item, column).items()}
        for key, values in _named(by_item, f"request_{column}").items():
            lists[key] = RequestLists(np.arange(requests + 1), values.take(starts))
        cells[column] = map_of_lists(lists, requests=requests, values=SLATE.field(column).type.item_type.value_type)
    cells |= {key: pa.array([[]] * requests, SLATE.field(key).type) for key in ("weights", "predictions")}
    return conform(pa.table(cells), SLATE, where="slates")


def _named(by_item: dict[str, pa.Array], section: str) -> dict[str, pa.Array]:
    """The columns of a section, taken out of `by_item`."""
    prefix = f"{section}."
    return {key.removeprefix(prefix): by_item.pop(key) for key in list(by_item) if key.startswith(prefix)}


def _context(by_item: dict[str, pa.Array], starts: pa.Array) -> pa.Array:
    columns = {key: values.take(starts) for key, values in _named(by_item, "context").items()}
    return map_of(columns) if columns else pa.array([[]] * len(starts), SLATE.field("context").type)
