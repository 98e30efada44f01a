"""Bring your own data: exports in CSV or Parquet, read by the mapping file that `datasets.mapping` describes.

Merchants without a file have commission and rates of 0; the data set's notes say so.
"""

from __future__ import annotations

from collections.abc import Mapping as Columns
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from marketplace.dataset import SCHEMAS, Dataset
from marketplace.datasets.fields import DEFAULTS, Loading, read_fields
from marketplace.datasets.further import read_further
from marketplace.datasets.impressions import group
from marketplace.datasets.mapping import read_mapping
from marketplace.finding import DataError, Finding, TableOrigin, Where, errors
from marketplace.integrity import check_dataset
from marketplace.schema import EVENTS, FEEDBACK, ITEMS, MERCHANTS, SLATE, USERS, conform, empty
from marketplace.toml_text import parse_toml


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
    """All that the mapping says of one export, as plain columns."""
    fields, raw = read_fields(loading, table)
    return fields if errors(loading.findings) else fields | read_further(loading, table, raw, fields)


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
        notes.append("No lists were recorded: nothing says what shoppers saw, so there is no click rate.")
    if "merchants" in tables:
        merchants = _conform(tables["merchants"], MERCHANTS)
    else:
        merchants = _named(pc.unique(items["merchant_id"].cast(pa.string())), MERCHANTS, DEFAULTS["merchants"])
        notes.append("No merchants file: commission and all rates are 0.")
    seen = pa.chunked_array(
        [*slates["user_id"].cast(pa.string()).chunks, *feedback["user_id"].cast(pa.string()).chunks]
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
        tuple(notes),
        context_features=tuple(mapping.further("slates", "context")),
        mapped_features=mapping.features,
        ignored_features=mapping.ignore,
    )


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
