"""Fields of the schema, as plain columns out of one export by its mapping; what cannot be read is a finding.

What an export does not have stays honest: sources, versions and scores are "unknown" or NaN.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from marketplace.dataset import SCHEMAS
from marketplace.datasets.cells import convert, identifiers
from marketplace.datasets.exports import read_export
from marketplace.datasets.mapping import DERIVING, WORDS, Export
from marketplace.datasets.mapping import Mapping as MappingFile
from marketplace.datasets.money import in_currency
from marketplace.finding import DataError, Finding, TableOrigin, Where, count_of_rows, nearest
from marketplace.schema import SLATE
from marketplace.slate_columns import plain
from marketplace.toml_text import TomlText

UNKNOWN: dict[str, str | float | bool] = {f.name: "unknown" for f in SLATE if f.name.endswith("_version")}
DEFAULTS: dict[str, dict[str, str | float | bool]] = {
    "items": {"category": "unknown", "in_stock": True},
    "merchants": {"commission_rate": 0.0, "quality": 0.0, "return_rate": 0.0, "refusal_rate": 0.0},
    "users": {},
    "slates": UNKNOWN | {"surface": "home", "source": "unknown"},
    "feedback": {},
}
FILLED_LATER = {"slates": ("user_id", "price", "merchant_id"), "feedback": ("user_id",)}
LISTED = 20  # names in a note
OPTIONAL_NUMBERS = ("retrieval_score", "merchant_value", "value", "propensity")  # NaN where the export has none


@dataclass
class Loading:
    """What has been read so far, and what was odd about it."""

    folder: Path
    text: TomlText
    mapping: MappingFile
    findings: list[Finding] = field(default_factory=list)
    origins: dict[str, TableOrigin] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    unused: dict[str, list[str]] = field(default_factory=dict)  # columns that the mapping does not use, by table


def read_fields(loading: Loading, table: str) -> tuple[dict[str, pa.Array], pa.Table]:
    """The fields of one export as plain columns, those that it lacks by default or not at all; and its own columns."""
    export = loading.mapping.export(table)
    assert export is not None
    loading.origins[table] = TableOrigin(export.file, columns=export.columns)
    try:
        raw, unused, findings = read_export(loading.folder, export, loading.mapping.columns(table))
    except DataError as error:
        loading.findings += error.findings
        return {}, pa.table({})
    loading.findings += findings
    loading.unused[table] = unused
    if unused:
        names = ", ".join(unused[:LISTED]) + (f" and {len(unused) - LISTED} more" if len(unused) > LISTED else "")
        loading.notes.append(f"Columns of {export.file} that the mapping does not use: {names}.")
    columns = {f.name: _column(loading, table, f, raw) for f in SCHEMAS[table] if not pa.types.is_map(f.type)}
    for name, kind in DERIVING.get(table, {}).items():
        if name in export.columns:
            columns[name] = read_column(loading, (table, "columns", name), export.columns[name], kind, raw)
    named = {name: column for name, column in columns.items() if column is not None}
    mapping = loading.mapping
    return (in_currency(named, mapping.currency, mapping.currencies) if "currency" in named else named), raw


def _column(loading: Loading, table: str, spec: pa.Field, raw: pa.Table) -> pa.Array | None:
    export, kind = loading.mapping.export(table), plain(spec.type)
    assert export is not None
    kind = kind.value_type if pa.types.is_list(kind) else kind
    if spec.name in export.columns:
        sound = len(loading.findings)
        values = read_column(loading, (table, "columns", spec.name), export.columns[spec.name], kind, raw)
        if export.columns[spec.name] not in raw.column_names:
            return values
        blank = values if len(loading.findings) == sound else raw[export.columns[spec.name]].combine_chunks()
        return _filled(loading, table, spec, values, blank=blank)
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


def read_column(loading: Loading, keys: tuple[str, ...], column: str, kind: pa.DataType, raw: pa.Table) -> pa.Array:
    export = loading.mapping.export(keys[0])
    assert export is not None
    if column not in raw.column_names:
        reason = f"names the column {column!r}: {export.file} has no column {column!r}"
        loading.findings.append(
            loading.text.finding(keys, reason, nearest(column, [*raw.column_names, *loading.unused[keys[0]]]))
        )
        return pa.nulls(len(raw), kind)
    values, findings = _convert(loading, export, raw[column], kind, Where(export.file, part=f"column {column}"))
    loading.findings += findings
    return identifiers(values) if keys[-1].endswith("_id") else values


def translated(loading: Loading, table: str, fields: Mapping[str, pa.Array]) -> dict[str, pa.Array]:
    """Fields of few words in ours, and an event's own as its detail; a finding names all words that are none."""
    export, columns = loading.mapping.export(table), dict[str, pa.Array]()
    for name, (section, known) in ((key[1], rule) for key, rule in WORDS.items() if key[0] == table):
        if name not in fields:
            continue
        words = fields[name].dictionary_encode()
        ours = [getattr(export, section).get(word, word) for word in words.dictionary.to_pylist()]
        columns[name] = pa.array(ours, pa.string()).take(words.indices)
        if name == "event":
            columns["detail"] = fields.get("detail", fields[name])
        unknown = pc.and_(pc.invert(pc.is_in(columns[name], pa.array(known))), pc.is_valid(columns[name]))
        if pc.any(unknown).as_py():
            loading.findings.append(_no_word(loading, (table, section), name, fields[name], unknown, known))
    return columns


def _no_word(
    loading: Loading, section: tuple[str, str], name: str, words: pa.Array, unknown: pa.Array, known: Sequence[str]
) -> Finding:
    counts = pc.value_counts(words.filter(unknown)).to_pylist()
    counts.sort(key=lambda row: -row["counts"])
    listed = ", ".join(f"{row['values']!r}{count_of_rows(row['counts'])}" for row in counts[:LISTED])
    rest = f" and {len(counts) - LISTED} more" if len(counts) > LISTED else ""
    trouble = f"{listed}{rest} {f'is no {name}' if len(counts) == 1 else f'are no {name}s'}."
    fix = f"Add to [{'.'.join(section)}] lines such as {counts[0]['values']!r} = one of {', '.join(known)}."
    origin = loading.origins[section[0]]
    where = Where(origin.file, part=origin.part(name), row=pc.index(unknown, True).as_py() + 1)
    return Finding("values", where, trouble, fix)


def _convert(
    loading: Loading, export: Export, values: pa.ChunkedArray, kind: pa.DataType, where: Where
) -> tuple[pa.Array, list[Finding]]:
    zone = export.time_zone or loading.mapping.time_zone
    return convert(values, kind, where=where, time_zone=zone, time_format=export.time_format)


def _filled(loading: Loading, table: str, spec: pa.Field, values: pa.Array, *, blank: pa.Array) -> pa.Array:
    """`values` without nulls where the schema wants none; a cell of `blank` that is empty is a finding."""
    if spec.name in OPTIONAL_NUMBERS:
        return values.fill_null(np.nan)
    export = loading.mapping.export(table)
    assert export is not None
    rows = np.flatnonzero(blank.is_null().to_numpy(zero_copy_only=False))
    if spec.nullable or spec.name in FILLED_LATER.get(table, ()) or not len(rows):
        return values
    where = Where(export.file, part=f"column {export.columns[spec.name]}", row=int(rows[0]) + 1)
    reason = f"{spec.name} is empty{count_of_rows(len(rows))}."
    loading.findings.append(Finding("values", where, reason, "Fill it in, or leave the row out."))
    return values
