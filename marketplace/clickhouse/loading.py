"""The loader: everything of a service's log, or of Parquet files, into a log in ClickHouse; begun again, it goes on.

A log is read by its marks, which are kept once their rows are stored: a batch that a kill cut short is read again, and
what was stored of it is left out by its id. Files are read from their beginning, which changes nothing that is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from marketplace.clickhouse.clickhouse_log import ClickhouseLog
from marketplace.loaded import Loaded
from marketplace.schema import FEEDBACK, SchemaError, conform
from marketplace.slate_columns import PLAIN_SLATE, item_offsets
from marketplace.sqlite_log import SqliteLog

SLATES_AT_ONCE, EVENTS_AT_ONCE = 4_000, 100_000
Part = TypeVar("Part")


@dataclass(frozen=True)
class LoadMarks:
    """How far a service's log was loaded: its marks, and the ids of the rows at two of them."""

    slates: int = 0
    feedback: int = 0
    quarantine: int = 0
    catalogue: int = 0
    request_id: str = ""
    feedback_id: str = ""


def load_log(source: SqliteLog, target: ClickhouseLog, *, name: str, progress: Callable[[Loaded], None]) -> Loaded:
    """Load what `source`, known as `name`, holds beyond the marks; `progress` is called after each batch."""
    kept = _KeptMarks(source, target, name)
    loaded = Loaded()
    for slates, mark in _ahead(_parts(partial(source.plain_slates_after, most=SLATES_AT_ONCE), kept.marks.slates)):
        loaded += _stored_slates(target, slates)
        kept.move(replace(kept.marks, slates=mark))
        progress(loaded)
    for (events, order_keys), mark in _ahead(_parts(partial(_events, source), kept.marks.feedback)):
        loaded += _stored_events(target, events, order_keys)
        kept.move(replace(kept.marks, feedback=mark))
        progress(loaded)
    for apart, mark in _parts(partial(source.quarantined_after, most=EVENTS_AT_ONCE), kept.marks.quarantine):
        target.append_feedback(apart.drop_columns(["reason"]), reasons=apart["reason"].to_pylist())
        kept.move(replace(kept.marks, quarantine=mark))
    records, catalogue = source.catalogue_after(kept.marks.catalogue)
    target.merge_records(records)
    kept.move(replace(kept.marks, catalogue=catalogue))
    return loaded


def load_files(folder: Path, target: ClickhouseLog, *, progress: Callable[[Loaded], None]) -> Loaded:
    """Load the files slates*.parquet and feedback*.parquet of a folder; raises SchemaError where there is none."""
    slates, feedback = (sorted(folder.rglob(f"{what}*.parquet")) for what in ("slates", "feedback"))
    if not slates and not feedback:
        raise SchemaError(f"{folder} holds no slates*.parquet and no feedback*.parquet.")
    loaded = Loaded()
    for table in _ahead(chain.from_iterable(_batches(file, PLAIN_SLATE, SLATES_AT_ONCE) for file in slates)):
        loaded += _stored_slates(target, table)
        progress(loaded)
    for table in _ahead(chain.from_iterable(_batches(file, FEEDBACK, EVENTS_AT_ONCE) for file in feedback)):
        loaded += _stored_events(target, table)
        progress(loaded)
    return loaded


def _stored_slates(target: ClickhouseLog, slates: pa.Table) -> Loaded:
    receipt = target.append_slates(slates)
    return Loaded(receipt.accepted, int(item_offsets(slates)[-1]), 0, receipt.duplicates)


def _stored_events(target: ClickhouseLog, events: pa.Table, order_keys: Sequence[str | None] | None = None) -> Loaded:
    receipt = target.append_feedback(events, order_keys=order_keys)
    return Loaded(0, 0, receipt.accepted, receipt.duplicates)


def _events(source: SqliteLog, mark: int) -> tuple[tuple[pa.Table, list[str | None]], int]:
    events, order_keys, mark = source.events_after(mark, most=EVENTS_AT_ONCE)
    return (events, order_keys), mark


def _parts(read: Callable[[int], tuple[Part, int]], mark: int) -> Iterator[tuple[Part, int]]:
    """What `read` gives after a mark, with the next mark, until that stays."""
    while (part := read(mark))[1] != mark:
        mark = part[1]
        yield part


def _ahead(rows: Iterator[Part]) -> Iterator[Part]:
    """The same rows, the next of which is fetched while one is used."""
    with ThreadPoolExecutor(1) as fetcher:
        coming = fetcher.submit(next, rows, None)
        while (row := coming.result()) is not None:
            coming = fetcher.submit(next, rows, None)
            yield row


def _batches(file: Path, schema: pa.Schema, rows: int) -> Iterator[pa.Table]:
    with pq.ParquetFile(file) as content:
        for batch in content.iter_batches(rows):
            yield conform(pa.Table.from_batches([batch]), schema, where=str(file))


class _KeptMarks:
    """The marks of one source in the log that it is loaded into: the beginning where they are not those of its rows."""

    def __init__(self, source: SqliteLog, target: ClickhouseLog, name: str) -> None:
        self._source, self._target, self._name = source, target, name
        query = f"SELECT {', '.join(vars(LoadMarks()))} FROM marks FINAL WHERE source = {{name:String}}"
        rows = target.connection.rows(query, {"name": name})
        marks = LoadMarks(*rows[0]) if rows else LoadMarks()
        self.marks = marks if self._named(marks) == marks else LoadMarks()

    def move(self, marks: LoadMarks) -> None:
        """Keep marks up to which rows are stored."""
        self.marks = self._named(marks)
        cells = {"source": self._name, **vars(self.marks)}
        self._target.connection.insert("marks", pa.table({column: [cell] for column, cell in cells.items()}))

    def _named(self, marks: LoadMarks) -> LoadMarks:
        event, request = self._source.names_at(marks.feedback, marks.slates)
        return replace(marks, request_id=request or "", feedback_id=event or "")
