"""The log in a folder of Parquet files, parquet:///FOLDER: written by `value-model load-log`, read like every log.

What lies there twice under one id, because two loaders or another engine wrote it, counts once: the first by time, of
equal times by file. It is no log to follow while a compaction of its files runs: rows are numbered as the files lie.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from pathlib import Path
from typing import NoReturn
from urllib.parse import unquote, urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from marketplace.catalogue_records import CatalogueReceipt, CatalogueRecord, CatalogueUpdate, Subject, merged, record_of
from marketplace.keys import rows_of
from marketplace.log import SHOWN, Receipt, UnknownRequest, bounds, without_requests
from marketplace.parquet.days import IDS, by_time, day_files, once, read_files
from marketplace.schema import FEEDBACK, SLATE
from marketplace.slate import Slate, table_to_slates
from marketplace.splits import microseconds

SYSTEM = "parquet"
SET_APART = ("feedback_id", "reason", "request_id", "event", "user_id", "item_id")  # what tells two such events apart
RECORDS = pa.schema([("subject", pa.string()), ("name", pa.string()), ("first", pa.int64()), ("body", pa.string())])


class ParquetLog:
    """A `Log` to read; raises ValueError for an address that names no folder, and where it is written to."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        if parts.netloc or not parts.path.strip("/"):
            raise ValueError(
                f"{address} names no folder: write {SYSTEM}:///FOLDER, with three slashes and a whole path."
            )
        self.folder = Path(unquote(parts.path))

    def slates(
        self, *, since: datetime | None = None, until: datetime | None = None, columns: Sequence[str] = SLATE.names
    ) -> pa.Table:
        return self._between("slates", columns, since, until)

    def feedback(self, *, since: datetime | None = None, until: datetime | None = None) -> pa.Table:
        return self._between("feedback", FEEDBACK.names, since, until)

    def slate(self, request_id: str) -> Slate:
        table = self.slates_of([request_id], columns=SLATE.names)
        if not len(table):
            raise UnknownRequest(request_id)
        return table_to_slates(table)[0]

    def slates_of(self, request_ids: Collection[str], *, columns: Sequence[str] = SHOWN) -> pa.Table:
        return self._of_ids("slates", columns, request_ids)

    def feedback_of(self, feedback_ids: Collection[str]) -> pa.Table:
        return self._of_ids("feedback", FEEDBACK.names, feedback_ids)

    def quarantined(self) -> pa.Table:
        rows = read_files(day_files(self.folder, "quarantine"), "quarantine")
        first: dict[tuple[str | None, ...], int] = {}
        for row, key in enumerate(zip(*(rows[name].to_pylist() for name in SET_APART), strict=True)):
            first.setdefault(key, row)
        return rows.take(pa.array(list(first.values()), pa.int64()))

    def feedback_after(
        self, mark: int, *, since: datetime | None = None, most: int | None = None
    ) -> tuple[pa.Table, int]:
        return self._after("feedback", FEEDBACK.names, mark, since=since, most=most)

    def shown_after(
        self,
        mark: int,
        *,
        since: datetime | None = None,
        most: int = 1000,
        skip: Collection[str] = (),
        columns: Sequence[str] = SHOWN,
    ) -> tuple[pa.Table, int]:
        table, mark = self._after("slates", [*columns, "request_id"], mark, since=since, most=most)
        return without_requests(table, skip).select(list(columns)), mark

    def catalogue_after(self, mark: int) -> tuple[list[CatalogueRecord], int]:
        """Every record, whatever the mark: they are kept as they stand."""
        files = sorted(self.folder.glob("catalogue/*.parquet"))
        rows = [row for file in files for row in pq.read_table(file, schema=RECORDS).to_pylist()]
        records: dict[tuple[Subject, str], CatalogueRecord] = {}
        for row in rows:
            record = record_of(row["subject"], row["name"], row["first"], row["body"])
            known = records.get((record.subject, record.name), record)
            records[record.subject, record.name] = merged(known, record)
        return sorted(records.values(), key=lambda one: one.first), len(rows)

    def close(self) -> None:
        """Nothing is held."""

    def append(self, slate: Slate, *, catalogue: int | None = None) -> None:
        self._refuse()

    def append_slates(self, slates: pa.Table) -> Receipt:
        self._refuse()

    def append_feedback(
        self,
        feedback: pa.Table,
        *,
        reasons: Sequence[str | None] | None = None,
        order_keys: Sequence[str | None] | None = None,
    ) -> Receipt:
        self._refuse()

    def put_catalogue(
        self, subject: Subject, updates: Sequence[CatalogueUpdate], *, known: Collection[str], time: datetime
    ) -> CatalogueReceipt:
        self._refuse()

    def names_at(self, feedback: int, slates: int) -> tuple[str | None, str | None]:
        self._refuse()

    def ends(self) -> tuple[int, int]:
        self._refuse()

    def probe(self) -> None:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise ValueError(f"{SYSTEM}://{self.folder} is written by `value-model load-log` alone; name another log here.")

    def _between(self, table: str, columns: Sequence[str], since: datetime | None, until: datetime | None) -> pa.Table:
        first, end = bounds(since, until)
        rows = read_files(
            day_files(self.folder, table, since=since, until=until), table, [*columns, "time", IDS[table]]
        )
        time = microseconds(rows["time"])
        within = rows.filter(pa.array((time >= first) & (time < end)))
        return once(by_time(within), table).select(list(columns))

    def _of_ids(self, table: str, columns: Sequence[str], ids: Collection[str]) -> pa.Table:
        names, read = pa.array(list(ids), pa.string()), [*columns, "time", IDS[table]]
        parts = [read_files([], table, read)]
        for file in day_files(self.folder, table):
            rows = read_files([file], table, read)
            parts.append(rows.filter(pc.is_in(rows[IDS[table]], names)))
        return once(by_time(pa.concat_tables(parts).combine_chunks()), table).select(list(columns))

    def _after(
        self, table: str, columns: Sequence[str], mark: int, *, since: datetime | None, most: int | None
    ) -> tuple[pa.Table, int]:
        """The rows of numbers mark .. mark + most, as files were written, without what stands in an earlier row."""
        files = sorted(day_files(self.folder, table), key=lambda file: (file.stat().st_mtime_ns, file.name, file))
        ends = np.cumsum([0, *(pq.read_metadata(file).num_rows for file in files)])
        stop = ends[-1] if most is None else min(ends[-1], mark + most)
        first, last = np.searchsorted(ends, [mark, stop], side="right") - 1
        rows = read_files(files[max(first, 0) : last + 1], table, [*columns, "time"])
        rows = rows.slice(mark - ends[first], max(0, stop - mark))
        ids = read_files(files, table, [IDS[table]])[IDS[table]]
        counts = rows_of(ids.slice(mark, len(rows)), ids) == np.arange(mark, mark + len(rows))
        counts &= microseconds(rows["time"]) >= bounds(since, None)[0]
        return rows.filter(pa.array(counts)).select(list(dict.fromkeys(columns))), max(mark, int(stop))
