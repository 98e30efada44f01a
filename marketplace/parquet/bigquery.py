"""BigQuery's schema of the log's tables, made from the log contract, and the commands that load the days' files.

Lists are REPEATED columns (files are loaded with list inference); a map is a record whose REPEATED `key_value` holds
key and value. `day`, the partition, comes from the files' folders.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from marketplace.parquet.days import SCHEMAS
from marketplace.schema import TIME

NAMES = {
    pa.string(): "STRING",
    TIME: "TIMESTAMP",
    pa.float64(): "FLOAT",
    pa.float32(): "FLOAT",
    pa.int32(): "INTEGER",
    pa.bool_(): "BOOLEAN",
}
CLUSTERS = {"slates": "user_id,surface", "feedback": "request_id,event", "quarantine": "reason"}
DAY = {"name": "day", "type": "DATE", "mode": "NULLABLE", "description": "the day of time, UTC"}


def schema_of(table: str) -> list[dict[str, Any]]:
    """The columns of one of SCHEMAS, as `bq` reads them."""
    return [_column(field) for field in SCHEMAS[table]] + [DAY]


def load_command(table: str, *, uri: str, dataset: str) -> str:
    """The command that appends the files under `uri` to a table, by day."""
    place = f"{uri.rstrip('/')}/{table}"
    days = shlex.quote(place + "/{day:DATE}")
    return " \\\n    ".join(
        [
            "bq load --source_format=PARQUET --parquet_enable_list_inference",
            f"--hive_partitioning_mode=CUSTOM --hive_partitioning_source_uri_prefix={days}",
            f"--time_partitioning_field=day --clustering_fields={CLUSTERS[table]}",
            f"{shlex.quote(f'{dataset}.{table}')} {shlex.quote(f'{place}/*.parquet')} {table}.json",
        ]
    )


def write_schemas(folder: Path, *, uri: str, dataset: str) -> Iterator[Path]:
    """Write a schema a table and load.sh."""
    folder.mkdir(parents=True, exist_ok=True)
    for table in SCHEMAS:
        file = folder / f"{table}.json"
        file.write_text(json.dumps(schema_of(table), indent=1, ensure_ascii=False) + "\n")
        yield file
    commands = [load_command(table, uri=uri, dataset=dataset) for table in SCHEMAS]
    script = folder / "load.sh"
    script.write_text("#!/bin/sh\nset -eu\n" + 'cd "$(dirname "$0")"\n' + "\n".join(commands) + "\n")
    yield script


def _column(field: pa.Field) -> dict[str, Any]:
    meaning = (field.metadata or {}).get(b"meaning", b"").decode()
    column = _kind(field.name, field.type, "NULLABLE" if field.nullable else "REQUIRED")
    return column | ({"description": meaning[:1024]} if meaning else {})


def _kind(name: str, kind: pa.DataType, mode: str) -> dict[str, Any]:
    if pa.types.is_map(kind):
        pair = [_kind("key", kind.key_type, "REQUIRED"), _kind("value", kind.item_type, "NULLABLE")]
        entries = {"name": "key_value", "type": "RECORD", "mode": "REPEATED", "fields": pair}
        return {"name": name, "type": "RECORD", "mode": mode, "fields": [entries]}
    if pa.types.is_list(kind):
        return _kind(name, kind.value_type, "REPEATED")
    return {"name": name, "type": NAMES[kind.value_type if pa.types.is_dictionary(kind) else kind], "mode": mode}
