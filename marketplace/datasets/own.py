"""Bring your own data: exports in CSV or Parquet, read by the mapping file that `datasets.mapping` describes.

Merchants without a file have commission and rates of 0; the data set's notes say so.
"""

from __future__ import annotations

from collections.abc import Mapping as Columns
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from marketplace.dataset import SCHEMAS, Dataset
from marketplace.datasets.deliveries import once, payable, with_answers
from marketplace.datasets.events import events_of_feedback, events_of_labels, in_time, read_labels
from marketplace.datasets.fields import DEFAULTS, Loading, read_fields, translated
from marketplace.datasets.further import read_further
from marketplace.datasets.impressions import group
from marketplace.datasets.mapping import read_mapping
from marketplace.datasets.money import with_margin
from marketplace.datasets.shoppers import with_shoppers, with_shoppers_of_slates
from marketplace.finding import DataError, Finding, TableOrigin, Where, errors, of_rows
from marketplace.integrity import check_dataset
from marketplace.schema import FEEDBACK, ITEMS, MERCHANTS, SLATE, USERS, conform, empty
from marketplace.toml_text import parse_toml


def read_own(path: Path | str, *, now: datetime | None = None) -> Dataset:
    """The data set that the mapping file `path` describes, warnings among its notes.

    `now` is the moment after which no event can lie; None = no such check. DataError lists everything unusable.
    """
    dataset, findings = load_own(path, now=now)
    if dataset is None or errors(findings):
        raise DataError(errors(findings))
    return replace(dataset, notes=(*dataset.notes, *map(str, findings)))


def load_own(path: Path | str, *, now: datetime | None) -> tuple[Dataset | None, list[Finding]]:
    """The data set, None where it cannot be built, and all findings, warnings included."""
    try:
        text = parse_toml(Path(path).read_bytes(), file=str(path))
        loading = Loading(Path(path).parent, text, read_mapping(text))
    except OSError as error:
        reason = f"the file cannot be read: {error}."
        return None, [Finding("file", Where(str(path)), reason, "Name a text file in UTF-8.")]
    except DataError as error:
        return None, list(error.findings)
    tables: dict[str, dict[str, pa.Array]] = {}
    for name in SCHEMAS:
        if loading.mapping.export(name) is not None:
            tables[name] = _columns(loading, name, slates=tables.get("slates"))
    if errors(loading.findings):
        return None, loading.findings
    dataset = _dataset(loading, tables)
    if errors(loading.findings):
        return None, loading.findings
    return dataset, [*loading.findings, *check_dataset(dataset, now=now, origins=loading.origins)]


def _columns(loading: Loading, table: str, *, slates: Columns[str, pa.Array] | None) -> dict[str, pa.Array]:
    """All that the mapping says of one export, as plain columns; `slates`: those of the impressions, for events."""
    fields, raw = read_fields(loading, table)
    if not raw.num_columns:
        return fields
    fields |= read_further(loading, table, raw, fields) | translated(loading, table, fields)
    if table == "slates":
        fields |= read_labels(loading, raw)
    if errors(loading.findings):
        return fields
    if table == "feedback" and slates and "request_id" in fields:
        fields = with_shoppers_of_slates(fields, slates)
    if table in ("slates", "feedback"):
        fields, stand_ins = with_shoppers(fields, rows=len(raw))
        if stand_ins:
            loading.notes.append(
                f"{stand_ins:,} rows of {table} name no shopper: the visit, device, request or order stands in."
            )
        _without_shopper(loading, table, fields["user_id"])
    return fields


def _without_shopper(loading: Loading, table: str, users: pa.Array) -> None:
    empty = users.is_null().to_numpy(zero_copy_only=False)
    if empty.any():
        where = Where(loading.origins[table].file, part="user_id")
        fix = "Map session_id, device_id or order_id, which then stands in, or leave the rows out."
        loading.findings.append(of_rows(empty, where, "user_id is empty", fix))


def _dataset(loading: Loading, tables: dict[str, dict[str, pa.Array]]) -> Dataset:
    mapping = loading.mapping
    items = _conform(with_margin(tables["items"]), ITEMS)
    slates, events = empty(SLATE), []
    if "slates" in tables:
        slates, labels = _slates(loading, tables.pop("slates"), items)
        if labels:
            happened, rows = events_of_labels(slates, labels, loading.origins["slates"])
            events.append((happened, TableOrigin(loading.origins["slates"].file, rows)))
    else:
        loading.notes.append("No lists were recorded: nothing says what shoppers saw, so there is no click rate.")
    if "feedback" in tables:
        logged = events_of_feedback(loading, tables["feedback"], items)
        named = not {"feedback_id", "order_id"}.isdisjoint(tables["feedback"])
        events.insert(0, _delivered(loading, slates, logged, named=named))
    feedback = in_time(loading, events) if events else empty(FEEDBACK)
    if "merchants" in tables:
        merchants = _conform(tables["merchants"], MERCHANTS)
    else:
        merchants = _named(pc.unique(items["merchant_id"].cast(pa.string())), MERCHANTS, DEFAULTS["merchants"])
        loading.notes.append("No merchants file: commission and all rates are 0.")
    seen = pa.chunked_array(
        [*slates["user_id"].cast(pa.string()).chunks, *feedback["user_id"].cast(pa.string()).chunks], pa.string()
    )
    users = _conform(tables["users"], USERS) if "users" in tables else _named(pc.unique(seen), USERS, {})
    return Dataset(
        mapping.name,
        mapping.currency,
        items,
        merchants,
        users,
        slates,
        feedback,
        tuple(loading.notes),
        context_features=tuple(mapping.further("slates", "context")),
        mapped_features=mapping.features,
        ignored_features=mapping.ignore,
        closed=mapping.closed,
        currency_rates=mapping.currencies,
        segment=mapping.segment,
        has_text=mapping.has_text,
        whole_lists=mapping.whole_lists,
    )


def _delivered(loading: Loading, slates: pa.Table, logged: pa.Table, *, named: bool) -> tuple[pa.Table, TableOrigin]:
    """The feedback file's events, each once and with the request that it answers, and where they came from.

    Where labels stand in the impressions' rows these are the answers, and an event without a request is beside them.
    """
    logged, origin, findings = payable(logged, loading.origins["feedback"])
    loading.findings += findings
    if not named:
        logged, origin, findings = once(logged, origin)
        loading.findings += findings
    if loading.mapping.slates is not None and not loading.mapping.slates.labels:
        logged, notes = with_answers(slates, logged)
        loading.notes += notes
    return logged, origin


def _slates(loading: Loading, columns: dict[str, pa.Array], items: pa.Table) -> tuple[pa.Table, dict[str, pa.Array]]:
    export, file = loading.mapping.slates, loading.origins["slates"].file
    assert export is not None
    unpriced = columns["price"].null_count if "price" in columns else 0
    if unpriced:
        loading.notes.append(f"{unpriced:,} candidates without a price have their item's.")
    slates, labels, loading.origins["slates"], findings = group(
        columns, items, name=file, first_position=export.first_position
    )
    loading.findings += findings
    loading.origins["slates"] = replace(loading.origins["slates"], columns=export.columns)
    return slates, labels


def _named(names: pa.Array, schema: pa.Schema, defaults: Columns[str, str | float | bool]) -> pa.Table:
    rest = {name: pa.array([value] * len(names)) for name, value in defaults.items()}
    return _conform({schema.names[0]: names} | rest, schema)


def _conform(columns: Columns[str, pa.Array], schema: pa.Schema) -> pa.Table:
    return conform(pa.table(dict(columns)), schema, where=schema.names[0])
