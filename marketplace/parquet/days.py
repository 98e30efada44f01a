"""Days of a log as Parquet files, which whoever reads finds whole or not at all:

    FOLDER/slates/day=2026-03-01/slates-1-000000004000.parquet        by the day of `time`, UTC
    FOLDER/feedback/day=2026-03-01/feedback-1-000000000000.parquet

A file is named by the log that its rows came from (1, 2, ...) and the mark there after which they arrived, so that
rows that are written again replace themselves.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from marketplace.keys import rows_of
from marketplace.log import QUARANTINED
from marketplace.schema import FEEDBACK, SLATE, SchemaError, conform
from marketplace.slate_columns import PLAIN_SLATE, plain
from marketplace.splits import microseconds

SCHEMAS = {"slates": SLATE, "feedback": FEEDBACK, "quarantine": QUARANTINED}
IDS = {"slates": "request_id", "feedback": "feedback_id"}


def write_days(rows: pa.Table, folder: Path, table: str, *, part: str) -> None:
    """Write rows of one of SCHEMAS to their days, as the files of `part`."""
    rows = conform(rows, SCHEMAS[table], where=table)
    days = pc.floor_temporal(rows["time"], unit="day")
    for day in pc.unique(days):
        target = folder / table / f"day={day.as_py():%Y-%m-%d}" / f"{table}-{part}.parquet"
        write_whole(rows.filter(pc.equal(days, day)), target)


def write_whole(rows: pa.Table, target: Path, *, group: int | None = None) -> None:
    """Write a file that is there once all of it is; its former content is replaced. `group`: rows that lie together."""
    target.parent.mkdir(parents=True, exist_ok=True)
    begun = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        pq.write_table(rows, begun, compression="zstd", row_group_size=group)
        begun.replace(target)
    finally:
        begun.unlink(missing_ok=True)


def day_files(folder: Path, table: str, *, since: datetime | None = None, until: datetime | None = None) -> list[Path]:
    """The files of the days that hold rows of these times, in order of day and name; other files are passed over."""
    days = (folder / table).glob("day=*")
    within = [day for day in days if _overlaps(_date(day), since=since, until=until)]
    return sorted(file for day in within for file in day.glob(f"{table}*.parquet"))


def read_files(files: Iterable[Path], table: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Rows of one of SCHEMAS, of all files one after another; raises SchemaError where a file does not follow it."""
    schema = schema_of(table, columns)
    loose = pa.schema([PLAIN_SLATE.field(f.name) if table == "slates" else f.with_type(plain(f.type)) for f in schema])
    parts = [conform(_read(file, schema.names), loose, where=str(file)) for file in files]
    return pa.concat_tables([loose.empty_table(), *parts]).combine_chunks().cast(schema)


def schema_of(table: str, columns: Sequence[str] | None = None) -> pa.Schema:
    whole = SCHEMAS[table]
    names = whole.names if columns is None else dict.fromkeys(columns)
    return pa.schema([whole.field(name) for name in names], metadata=whole.metadata)


def by_time(rows: pa.Table) -> pa.Table:
    return rows.take(pa.array(np.argsort(microseconds(rows["time"]), kind="stable")))


def once(rows: pa.Table, table: str) -> pa.Table:
    """The rows whose id no row above has."""
    ids = rows[IDS[table]]
    first = rows_of(ids, ids) == np.arange(len(rows))
    return rows if first.all() else rows.filter(pa.array(first))


def _read(file: Path, columns: Sequence[str]) -> pa.Table:
    try:
        with pq.ParquetFile(file) as content:
            return content.read([name for name in columns if name in content.schema_arrow.names])
    except (OSError, pa.ArrowException) as error:
        raise SchemaError(f"{file} cannot be read as Parquet: {error}") from error


def _date(day: Path) -> date:
    try:
        return date.fromisoformat(day.name.removeprefix("day="))
    except ValueError:
        raise SchemaError(f"{day} is no day: name it as day=2026-01-31.") from None


def _overlaps(day: date, *, since: datetime | None, until: datetime | None) -> bool:
    from_start = since is None or day >= since.astimezone(UTC).date()
    return from_start and (until is None or day <= until.astimezone(UTC).date())
