"""Bring your own data: exports in CSV or Parquet, read by the mapping file that `datasets.mapping` describes.

What an export does not have stays honest: sources, versions and scores are "unknown" or NaN, merchants without a
file have commission and rates of 0, and the data set's notes say so.
"""

from __future__ import annotations

from collections.abc import Mapping as Columns
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from marketplace.dataset import SCHEMAS, Dataset
from marketplace.datasets.exports import convert, read_export
from marketplace.datasets.impressions import group, text_map
from marketplace.datasets.mapping import Export, Mapping, read_mapping
from marketplace.finding import DataError, Finding, TableOrigin, Where, count_of_rows, errors, nearest
from marketplace.integrity import check_dataset
from marketplace.schema import EVENTS, FEEDBACK, ITEMS, MERCHANTS, SLATE, USERS, conform, empty
from marketplace.slate_columns import plain
from marketplace.toml_text import TomlText, parse_toml

UNKNOWN: dict[str, str | float | bool] = {f.name: "unknown" for f in SLATE if f.name.endswith("_version")}
DEFAULTS: dict[str, dict[str, str | float | bool]] = {
    "items": {"category": "unknown", "in_stock": True},
    "merchants": {"commission_rate": 0.0, "quality": 0.0, "return_rate": 0.0, "refusal_rate": 0.0},
    "users": {},
    "slates": UNKNOWN | {"surface": "home", "source": "unknown"},
    "feedback": {},
}
OPTIONAL_NUMBERS = ("retrieval_score", "merchant_value", "value", "propensity")  # NaN where the export has none


@dataclass
class Loading:
    """What has been read so far, and what was odd about it."""

    folder: Path
    text: TomlText
    mapping: Mapping
    findings: list[Finding] = field(default_factory=list)
    origins: dict[str, TableOrigin] = field(default_factory=dict)


def read_own(path: Path | str, *, now: datetime | None = None) -> Dataset:
    """The data set that the mapping file `path` describes; raises DataError that lists everything unusable.

    `now` is the moment after which no event can lie; None = no such check.
    """
    dataset, findings = load_own(path, now=now)
    if dataset is None or errors(findings):
        raise DataError(errors(findings))
    return dataset


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
    tables = {name: _columns(loading, name) for name in SCHEMAS if loading.mapping.export(name) is not None}
    if errors(loading.findings):
        return None, loading.findings
    dataset = _dataset(loading, tables)
    if errors(loading.findings):
        return None, loading.findings
    return dataset, [*loading.findings, *check_dataset(dataset, now=now, origins=loading.origins)]


def _columns(loading: Loading, table: str) -> dict[str, pa.Array]:
    """The fields of one export as plain columns, those that it lacks by default or null."""
    export = loading.mapping.export(table)
    assert export is not None
    loading.origins[table] = TableOrigin(export.file)
    try:
        raw, findings = read_export(loading.folder, export)
    except DataError as error:
        loading.findings += error.findings
        return {}
    loading.findings += findings
    columns = {f.name: _column(loading, table, f, raw) for f in SCHEMAS[table] if not pa.types.is_map(f.type)}
    if table == "slates":
        columns |= _kept(loading, raw)
    if table == "items":
        columns["attributes"] = _item_attributes(loading, raw)
    return {name: column for name, column in columns.items() if column is not None}


def _column(loading: Loading, table: str, spec: pa.Field, raw: pa.Table) -> pa.Array | None:
    export, kind = loading.mapping.export(table), plain(spec.type)
    assert export is not None
    kind = kind.value_type if pa.types.is_list(kind) else kind
    if spec.name in export.columns:
        values = _read(loading, (table, "columns", spec.name), export.columns[spec.name], kind, raw)
        return _filled(loading, table, spec, values)
    constant = export.constants.get(spec.name, DEFAULTS[table].get(spec.name))
    if spec.name == "currency" and constant is None:
        constant = loading.mapping.currency
    if constant is None:
        return None
    cell = str(constant).lower() if isinstance(constant, bool) else str(constant)
    where = loading.text.where(table, "constants", spec.name)
    value, findings = _convert(loading, export, pa.chunked_array([[cell]]), kind, where)
    loading.findings += findings
    return value.take(pa.array(np.zeros(len(raw), np.int64)))


def _read(loading: Loading, keys: tuple[str, ...], column: str, kind: pa.DataType, raw: pa.Table) -> pa.Array:
    export = loading.mapping.export(keys[0])
    assert export is not None
    if column not in raw.column_names:
        reason = f"names the column {column!r}: {export.file} has no column {column!r}"
        loading.findings.append(loading.text.finding(keys, reason, nearest(column, raw.column_names)))
        return pa.nulls(len(raw), kind)
    values, findings = _convert(loading, export, raw[column], kind, Where(export.file, part=f"column {column}"))
    loading.findings += findings
    return values


def _convert(
    loading: Loading, export: Export, values: pa.ChunkedArray, kind: pa.DataType, where: Where
) -> tuple[pa.Array, list[Finding]]:
    zone = loading.mapping.time_zone
    return convert(values, kind, where=where, time_zone=zone, time_format=export.time_format)


def _filled(loading: Loading, table: str, spec: pa.Field, values: pa.Array) -> pa.Array:
    """`values` without nulls where the schema wants none; an empty cell is a finding, unless one was found already."""
    if spec.name in OPTIONAL_NUMBERS:
        return values.fill_null(np.nan)
    export = loading.mapping.export(table)
    assert export is not None
    if spec.nullable or values.null_count == 0 or errors(loading.findings):
        return values
    rows = np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False))
    where = Where(export.file, part=f"column {export.columns[spec.name]}", row=int(rows[0]) + 1)
    reason = f"{spec.name} is empty{count_of_rows(len(rows))}."
    loading.findings.append(Finding("values", where, reason, "Fill it in, or leave the row out."))
    return values


def _item_attributes(loading: Loading, raw: pa.Table) -> pa.Array:
    columns = {
        name: _read(loading, ("items", "attributes", name), column, pa.string(), raw)
        for name, column in loading.mapping.items.attributes.items()
    }
    return text_map(columns, rows=len(raw))


def _kept(loading: Loading, raw: pa.Table) -> dict[str, pa.Array]:
    """The extra columns of impressions, named "context.x", "numeric.x" and "categorical.x"."""
    export = loading.mapping.slates
    assert export is not None
    kinds = {"context": pa.string(), "numeric": pa.float32(), "categorical": pa.string()}
    columns = {
        f"{section}.{name}": _read(loading, ("slates", section, name), column, kind, raw)
        for section, kind in kinds.items()
        for name, column in getattr(export, section).items()
    }
    return {key: c.fill_null(np.nan) if pa.types.is_floating(c.type) else c for key, c in columns.items()}


def _dataset(loading: Loading, tables: Columns[str, dict[str, pa.Array]]) -> Dataset:
    mapping, notes = loading.mapping, []
    items = _conform(tables["items"], ITEMS)
    feedback = _feedback(loading, tables["feedback"]) if "feedback" in tables else empty(FEEDBACK)
    slates = empty(SLATE)
    if "slates" in tables:
        slates, origin, findings = group(tables["slates"], items, name=loading.origins["slates"].file)
        loading.origins["slates"] = origin
        loading.findings += findings
    else:
        notes.append("No impressions: purchase-only data, without a click rate.")
    if "merchants" in tables:
        merchants = _conform(tables["merchants"], MERCHANTS)
    else:
        merchants = _named(pc.unique(items["merchant_id"].cast(pa.string())), MERCHANTS, DEFAULTS["merchants"])
        notes.append("No merchants file: commission and all rates are 0.")
    seen = pa.chunked_array(
        [*slates["user_id"].cast(pa.string()).chunks, *feedback["user_id"].cast(pa.string()).chunks]
    )
    users = _conform(tables["users"], USERS) if "users" in tables else _named(pc.unique(seen), USERS, {})
    return Dataset(mapping.name, mapping.currency, items, merchants, users, slates, feedback, tuple(notes))


def _feedback(loading: Loading, columns: dict[str, pa.Array]) -> pa.Table:
    export = loading.mapping.feedback
    assert export is not None
    words = columns["event"].dictionary_encode()
    ours = pa.array([export.events.get(word, word) for word in words.dictionary.to_pylist()], pa.string())
    events = ours.take(words.indices)
    unknown = ~pc.is_in(events, pa.array(EVENTS)).to_numpy(zero_copy_only=False)
    if unknown.any():
        row = int(np.argmax(unknown))
        fix = f"Add it under [feedback.events], such as {words[row].as_py()!r} = one of {', '.join(EVENTS)}."
        where = Where(export.file, part=f"column {export.columns.get('event', 'event')}", row=row + 1)
        loading.findings.append(Finding("values", where, f"{words[row].as_py()!r} is no event.", fix))
    detail = columns.get("detail", columns["event"])
    ids = pc.binary_join_element_wise(export.file, pa.array(np.arange(1, len(words) + 1)).cast(pa.string()), ":")
    table = _conform({"feedback_id": ids} | columns | {"event": events, "detail": detail}, FEEDBACK)
    order = np.argsort(table["time"].cast(pa.int64()).to_numpy(), kind="stable")
    loading.origins["feedback"] = TableOrigin(export.file, rows=order + 1)
    return table.take(pa.array(order))


def _named(names: pa.Array, schema: pa.Schema, defaults: Columns[str, str | float | bool]) -> pa.Table:
    rest = {name: pa.array([value] * len(names)) for name, value in defaults.items()}
    return _conform({schema.names[0]: names} | rest, schema)


def _conform(columns: Columns[str, pa.Array], schema: pa.Schema) -> pa.Table:
    return conform(pa.table(dict(columns)), schema, where=schema.names[0])
