"""Slates and feedback as Parquet and as JSON lines, both without loss.

JSON conventions: one object a line; a number that JSON cannot write is the text "NaN", "Infinity" or "-Infinity";
times are ISO 8601 in UTC with microseconds; maps are objects in their order; each object carries `schema_version`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from marketplace.schema import FEEDBACK, SCHEMA_VERSION, SLATE, SchemaError, conform
from marketplace.slate import ITEM_LISTS, LIST_MAPS, Slate, slates_to_table, table_to_slates
from marketplace.slate_columns import dtype_of

VERSION = "schema_version"
WORDS = {"NaN": np.nan, "Infinity": np.inf, "-Infinity": -np.inf}


def write_parquet(table: pa.Table, path: Path | str, schema: pa.Schema) -> None:
    """Write `table` as a file of `schema`, its version in the file's metadata; raises SchemaError."""
    pq.write_table(conform(table, schema, where=str(path)), path, compression="zstd")


def read_parquet(path: Path | str, schema: pa.Schema) -> pa.Table:
    """The rows of a file that `write_parquet` wrote; raises SchemaError for other columns or another version."""
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise SchemaError(f"{path} cannot be read as Parquet: {error}") from error
    _check_version((table.schema.metadata or {}).get(VERSION.encode(), b"none").decode(), where=str(path))
    return conform(table, schema, where=str(path))


def slates_to_json(slates: pa.Table) -> bytes:
    """SLATE rows as JSON lines."""
    return b"".join(map(slate_to_json, table_to_slates(slates)))


def slate_to_json(slate: Slate) -> bytes:
    """One slate as a line of JSON."""
    return _line({f.name: _cell(getattr(slate, f.name)) for f in fields(slate)})


def json_to_slates(lines: bytes) -> pa.Table:
    """The SLATE rows of JSON lines; raises SchemaError naming the line."""
    return slates_to_table([_slate(cells, where) for where, cells in _objects(lines, "slates")])


def feedback_to_json(feedback: pa.Table) -> bytes:
    """FEEDBACK rows as JSON lines."""
    return b"".join(_line({name: _word(cell) for name, cell in row.items()}) for row in feedback.to_pylist())


def json_to_feedback(lines: bytes) -> pa.Table:
    """The FEEDBACK rows of JSON lines; raises SchemaError naming the line."""
    rows = [_feedback_cells(cells, where) for where, cells in _objects(lines, "feedback")]
    columns = {name: [row[name] for row in rows] for name in FEEDBACK.names}
    return conform(pa.table(columns, schema=FEEDBACK), FEEDBACK, where="feedback")


def _line(cells: Mapping[str, Any]) -> bytes:
    return orjson.dumps({VERSION: SCHEMA_VERSION} | dict(cells), option=orjson.OPT_APPEND_NEWLINE)


def _objects(lines: bytes, what: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(lines.splitlines(), start=1):
        where = f"{what} line {number}"
        try:
            cells = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise SchemaError(f"{where} is not JSON: {error}") from error
        if not isinstance(cells, dict):
            raise SchemaError(f"{where} is a {type(cells).__name__}; wanted an object with the schema's fields.")
        _check_version(str(cells.pop(VERSION, "none")), where=where)
        yield where, cells


def _check_version(version: str, *, where: str) -> None:
    if version != str(SCHEMA_VERSION):
        raise SchemaError(f"{where}: schema version {version}; this program reads version {SCHEMA_VERSION}.")


def _cell(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        cells = value.tolist()
        return cells if value.dtype.kind != "f" or np.isfinite(value).all() else [_word(cell) for cell in cells]
    return {name: _cell(cell) for name, cell in value.items()} if isinstance(value, Mapping) else _word(value)


def _word(value: Any) -> Any:
    """A scalar as JSON can write it."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    if isinstance(value, float) and not np.isfinite(value):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    return value


def _slate(cells: dict[str, Any], where: str) -> Slate:
    _check_names(cells, SLATE.names, where=where)
    try:
        cells = cells | {"time": _time(cells["time"]), "weights": _floats(cells["weights"])}
        cells |= {name: _array(cells[name], SLATE.field(name).type) for name in ITEM_LISTS}
        for name in LIST_MAPS:
            kind = SLATE.field(name).type.item_type
            cells[name] = {key: _array(values, kind) for key, values in cells[name].items()}
        return Slate(**cells)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise SchemaError(f"{where}: {error}") from error


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"time {text!r} has no time zone; write it in UTC, as 2026-01-31T12:00:00.000000+00:00")
    return time


def _floats(cells: Mapping[str, Any]) -> dict[str, float]:
    return {name: WORDS[cell] if isinstance(cell, str) else float(cell) for name, cell in cells.items()}


def _array(values: Iterable[Any], kind: pa.DataType) -> np.ndarray:
    if pa.types.is_floating(kind.value_type):
        values = [WORDS[value] if isinstance(value, str) else value for value in values]
        return np.array(values, dtype_of(kind.value_type))
    if pa.types.is_integer(kind.value_type):
        return np.array(values, np.int32)
    return np.array(values, object)


def _feedback_cells(cells: dict[str, Any], where: str) -> dict[str, Any]:
    _check_names(cells, FEEDBACK.names, where=where)
    try:
        amount = cells["amount"]
        return cells | {
            "time": _time(cells["time"]),
            "amount": WORDS[amount] if isinstance(amount, str) else amount,
        }
    except (TypeError, ValueError, KeyError) as error:
        raise SchemaError(f"{where}: {error!r}") from error


def _check_names(cells: Mapping[str, Any], names: list[str], *, where: str) -> None:
    missing, unknown = [n for n in names if n not in cells], [n for n in cells if n not in names]
    if missing or unknown:
        raise SchemaError(f"{where}: missing fields {missing}, unknown fields {unknown}; the schema has {names}.")
