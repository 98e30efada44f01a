"""The loader: what a log holds beyond the marks of FOLDER/loaded.json, into the folder's days.

A batch that a kill cut short is read again from its mark and written over itself, so that no row is lost or stands
twice. A log that is not the one of its marks, such as a new file under an old name, is loaded as another log.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pyarrow as pa

from marketplace.catalogue_records import CatalogueRecord, text_of
from marketplace.loaded import Loaded
from marketplace.log import Log
from marketplace.parquet.days import write_days, write_whole
from marketplace.parquet.orders import orders_of, repeated_orders, write_events
from marketplace.parquet.parquet_log import RECORDS
from marketplace.schema import SLATE
from marketplace.slate_columns import item_offsets
from marketplace.sqlite_log import SqliteLog

SLATES_AT_ONCE, EVENTS_AT_ONCE = 10_000, 500_000
MARKS, LOCK = "loaded.json", ".loading"


@dataclass(frozen=True)
class LogMarks:
    """How far log `number` of a folder was loaded, and the ids of its rows there."""

    number: int
    log: str
    slates: int = 0
    feedback: int = 0
    request_id: str | None = None
    feedback_id: str | None = None


def load_log(source: Log, folder: Path, *, name: str, progress: Callable[[Loaded], None]) -> Loaded:
    """Load what `source`, known as `name`, holds beyond its marks; `progress` is called after each batch.

    Raises ValueError where another process loads into the folder.
    """
    loaded = Loaded()
    with alone(folder):
        logs = _marks(folder)
        marks = _own(logs, source, name)
        logs[marks.number] = marks  # its number is taken before a file bears it
        _keep(logs, folder)
        for moved, part in _batches(source, folder, marks):
            event, request = source.names_at(moved.feedback, moved.slates)
            marks = replace(moved, request_id=request, feedback_id=event)
            logs[marks.number] = marks
            _keep(logs, folder)
            loaded += part
            progress(loaded)
        write_days(source.quarantined(), folder, "quarantine", part=str(marks.number))
        write_catalogue(source.catalogue_after(0)[0], folder, part=str(marks.number))
    return loaded


def write_catalogue(records: Sequence[CatalogueRecord], folder: Path, *, part: str) -> None:
    """Write records of items and merchants as the file of `part`; none = no file."""
    if records:
        cells = [(str(one.subject), one.name, one.first, text_of(one)) for one in records]
        rows = [dict(zip(RECORDS.names, record, strict=True)) for record in cells]
        write_whole(pa.Table.from_pylist(rows, RECORDS), folder / "catalogue" / f"catalogue-{part}.parquet")


def _batches(source: Log, folder: Path, marks: LogMarks) -> Iterator[tuple[LogMarks, Loaded]]:
    """Write one batch after another: the marks after each, and what it held."""
    while True:
        slates, mark = source.shown_after(marks.slates, most=SLATES_AT_ONCE, columns=SLATE.names)
        if mark == marks.slates:
            break
        write_days(slates, folder, "slates", part=f"{marks.number}-{marks.slates:012d}")
        marks = replace(marks, slates=mark)
        yield marks, Loaded(slates=len(slates), items=int(item_offsets(slates)[-1]))
    while True:
        events, order_keys, mark = _events(source, marks.feedback)
        if mark == marks.feedback:
            break
        repeats = repeated_orders(folder, orders_of(events, order_keys))
        part = f"{marks.number}-{marks.feedback:012d}"
        write_events(events, [None] * len(events), folder, part=part, repeats=repeats)
        marks = replace(marks, feedback=mark)
        yield marks, Loaded(events=len(events))


def _events(source: Log, mark: int) -> tuple[pa.Table, list[str | None], int]:
    """FEEDBACK after `mark`, the order that each was accepted under where the log knows it, and the next mark."""
    if isinstance(source, SqliteLog):
        return source.events_after(mark, most=EVENTS_AT_ONCE)
    events, mark = source.feedback_after(mark, most=EVENTS_AT_ONCE)
    return events, [None] * len(events), mark


def _own(logs: dict[int, LogMarks], source: Log, name: str) -> LogMarks:
    """The marks of the log as it was loaded before, or of a further one."""
    for marks in logs.values():
        if marks.log == name and source.names_at(marks.feedback, marks.slates) == (marks.feedback_id, marks.request_id):
            return marks
    return LogMarks(len(logs) + 1, name)


def _marks(folder: Path) -> dict[int, LogMarks]:
    file = folder / MARKS
    rows: Sequence[dict[str, object]] = json.loads(file.read_text()) if file.exists() else []
    return {marks.number: marks for marks in (LogMarks(**row) for row in rows)}  # type: ignore[arg-type]


def _keep(logs: dict[int, LogMarks], folder: Path) -> None:
    begun = folder / f".{MARKS}"
    begun.write_text(json.dumps([asdict(marks) for marks in logs.values()], indent=1) + "\n")
    begun.replace(folder / MARKS)


@contextmanager
def alone(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Nobody else loads into the folder meanwhile; where somebody does it waits, or raises ValueError."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise ValueError(f"another process loads into {folder}; begin again when it has ended.") from None
        yield
