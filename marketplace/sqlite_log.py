"""The log in one SQLite file that several processes of one machine append to at once.

A slate is one row: request_id, time, user_id and `marketplace.slate_body`; rows that were written before there was a
column user_id have none. Feedback lies in plain columns, so that SQL can read it.

Durability: SQLite in WAL mode. An acknowledged append has reached the operating system and survives `kill -9` of
every process; with `survive_power_loss` each append also waits for the disk. Readers pass over a row that cannot be
read: the table `damaged` names it, and the row itself stays as it is.
"""

from __future__ import annotations

import logging
import sqlite3
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from marketplace import sqlite_catalogue
from marketplace.catalogue_records import CatalogueReceipt, CatalogueRecord, CatalogueUpdate, Subject
from marketplace.log import (
    QUARANTINED,
    REPEATED_ORDER,
    SHOWN,
    CatalogueMoved,
    DuplicateRequest,
    LogUnavailable,
    Receipt,
    UnknownRequest,
    admit,
    bounds,
)
from marketplace.schema import FEEDBACK, SCHEMA_VERSION, SLATE, SchemaError, conform, microseconds_of, moment_of
from marketplace.slate import Slate, slates_to_batch, table_to_slates
from marketplace.slate_body import UNREADABLE, StoredSlate, pack, rows_apart, unpack, unpack_all
from marketplace.slate_columns import PLAIN_SLATE, plain
from marketplace.sqlite_file import SqliteFile

logger = logging.getLogger(__name__)

CREATE = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS slates (
    arrival INTEGER PRIMARY KEY, request_id TEXT NOT NULL UNIQUE, time INTEGER NOT NULL, user_id TEXT,
    body BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS slates_by_time ON slates (time, arrival);
CREATE TABLE IF NOT EXISTS feedback (
    arrival INTEGER PRIMARY KEY, feedback_id TEXT NOT NULL UNIQUE, request_id TEXT, event TEXT NOT NULL,
    time INTEGER NOT NULL, user_id TEXT NOT NULL, item_id TEXT NOT NULL, amount REAL, currency TEXT,
    session_id TEXT, detail TEXT);
CREATE INDEX IF NOT EXISTS feedback_by_time ON feedback (time, arrival);
CREATE TABLE IF NOT EXISTS quarantine (
    arrival INTEGER PRIMARY KEY, feedback_id TEXT NOT NULL, request_id TEXT, event TEXT NOT NULL,
    time INTEGER NOT NULL, user_id TEXT NOT NULL, item_id TEXT NOT NULL, amount REAL, currency TEXT,
    session_id TEXT, detail TEXT, reason TEXT NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS quarantined_once ON quarantine (
    feedback_id, reason, coalesce(request_id, ''), event, user_id, item_id);
CREATE TABLE IF NOT EXISTS orders (
    order_key TEXT NOT NULL, item_id TEXT NOT NULL, feedback_id TEXT NOT NULL,
    PRIMARY KEY (order_key, item_id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS orders_by_event ON orders (feedback_id, item_id);
CREATE TABLE IF NOT EXISTS damaged (
    source TEXT NOT NULL, arrival INTEGER NOT NULL, name TEXT, reason TEXT NOT NULL,
    PRIMARY KEY (source, arrival)) WITHOUT ROWID;
"""
ADD_USER = "ALTER TABLE slates ADD COLUMN user_id TEXT"
PRESENT = "SELECT name FROM sqlite_master UNION SELECT 'slates.' || name FROM pragma_table_info('slates')"
PARTS = {
    "about",
    "slates",
    "slates.user_id",
    "feedback",
    "quarantine",
    "orders",
    "orders_by_event",
    "damaged",
    "catalogue",
}
AT_ONCE = 500  # ids of one query
NEWEST = "max(32768, coalesce((SELECT length(body) FROM slates ORDER BY arrival DESC LIMIT 1), 0))"  # its bytes
COLUMNS = ", ".join(FEEDBACK.names)
ADD_SLATE = "INSERT INTO slates (request_id, time, user_id, body) VALUES (?, ?, ?, ?)"
ADD_SLATE_OF = ADD_SLATE.replace("VALUES (?, ?, ?, ?)", f"SELECT ?, ?, ?, ? WHERE {sqlite_catalogue.MARK} <= ?")
ADD_FEEDBACK = f"INSERT OR IGNORE INTO feedback ({COLUMNS}) VALUES ({', '.join('?' * len(FEEDBACK))})"
ADD_QUARANTINED = f"INSERT OR IGNORE INTO quarantine ({COLUMNS}, reason) VALUES ({'?, ' * len(FEEDBACK)}?)"
ORDER_KEY = (
    "(SELECT order_key FROM orders WHERE orders.feedback_id = feedback.feedback_id"
    " AND orders.item_id = feedback.item_id)"
)
ADD_ORDER = "INSERT OR IGNORE INTO orders VALUES (?, ?, ?)"
ADD_DAMAGED = "INSERT OR IGNORE INTO damaged VALUES (?, ?, ?, ?)"
BETWEEN = "WHERE time >= ? AND time < ? ORDER BY time, arrival"
ARRIVED = "WHERE arrival > ? AND arrival <= ? AND time >= ? ORDER BY arrival LIMIT ?"
PLAIN_FEEDBACK = pa.schema(
    [f.with_type(pa.int64() if pa.types.is_timestamp(f.type) else plain(f.type)) for f in FEEDBACK]
)
NO_EVENTS, NONE_QUARANTINED = FEEDBACK.empty_table(), QUARANTINED.empty_table()
Rows = list[tuple[Any, ...]]


class SqliteLog:
    """A `Log` in the file `path`, made if it is not there.

    Safe to use from several threads and processes, forked ones included. A writer waits up to `patience` for the
    others. Raises SchemaError for a file that is no log or of another schema version.
    """

    def __init__(
        self, path: Path | str, *, patience: timedelta = timedelta(seconds=30), survive_power_loss: bool = False
    ) -> None:
        self._file = SqliteFile(Path(path), patience=patience, survive_power_loss=survive_power_loss)
        _prepare(self._file)

    def append(self, slate: Slate, *, catalogue: int | None = None) -> None:
        self.append_body(slate, pack(slates_to_batch([slate])), catalogue=catalogue)

    def append_body(self, slate: Slate, body: bytes, *, catalogue: int | None) -> None:
        """`append` of a slate that was packed already."""
        row = (slate.request_id, microseconds_of(slate.time), slate.user_id, body)
        statement, marks = (ADD_SLATE, ()) if catalogue is None else (ADD_SLATE_OF, (catalogue,))
        try:
            with self._file.connection() as connection:
                added = connection.execute(statement, (*row, *marks)).rowcount
        except sqlite3.IntegrityError as error:
            raise DuplicateRequest(slate.request_id) from error
        if not added:
            raise CatalogueMoved(f"the catalogue moved on from {catalogue} while {slate.request_id!r} was answered")

    def append_slates(self, slates: pa.Table) -> Receipt:
        plain_rows = conform(slates, PLAIN_SLATE, where="slates").combine_chunks()
        names, users = plain_rows["request_id"].to_pylist(), plain_rows["user_id"].to_pylist()
        times = plain_rows["time"].cast(pa.int64()).to_pylist()
        bodies = [pack(row) for batch in plain_rows.to_batches() for row in rows_apart(batch)]
        with self._file.transaction() as connection:
            statement = ADD_SLATE.replace("INSERT", "INSERT OR IGNORE")
            rows = list(zip(names, times, users, bodies, strict=True))
            added = connection.executemany(statement, rows).rowcount if rows else 0
        return Receipt(added, len(rows) - added)

    def append_feedback(
        self,
        feedback: pa.Table,
        *,
        reasons: Sequence[str | None] | None = None,
        order_keys: Sequence[str | None] | None = None,
    ) -> Receipt:
        table = admit(feedback).cast(PLAIN_FEEDBACK)
        rows = list(zip(*(column.to_pylist() for column in table.columns), strict=True))
        apart = list(reasons or [None] * len(rows))
        with self._file.transaction() as connection:
            for place, key in enumerate(order_keys or ()):
                if key is not None and apart[place] is None and _ordered_before(connection, key, rows[place]):
                    apart[place] = REPEATED_ORDER
            believed = [row for row, reason in zip(rows, apart, strict=True) if reason is None]
            accepted = connection.executemany(ADD_FEEDBACK, believed).rowcount if believed else 0
            set_apart = [(*row, reason) for row, reason in zip(rows, apart, strict=True) if reason is not None]
            connection.executemany(ADD_QUARANTINED, set_apart)
        return Receipt(accepted, len(believed) - accepted, dict(Counter(reason for *_, reason in set_apart)))

    def slates_of(self, request_ids: Collection[str], *, columns: Sequence[str] = SHOWN) -> pa.Table:
        query = "SELECT arrival, request_id, body FROM slates"
        return _columns(self._bodies(self._of_ids(query, "request_id", request_ids)), columns)

    def feedback_of(self, feedback_ids: Collection[str]) -> pa.Table:
        return self._events(self._of_ids(f"SELECT arrival, {COLUMNS} FROM feedback", "feedback_id", feedback_ids))

    def quarantined(self) -> pa.Table:
        return _set_apart(self._rows(f"SELECT {COLUMNS}, reason FROM quarantine ORDER BY arrival", ()))

    def slate(self, request_id: str) -> Slate:
        rows = self._rows("SELECT arrival, request_id, body FROM slates WHERE request_id = ?", (request_id,))
        if not rows:
            raise UnknownRequest(request_id)
        bodies = self._bodies(rows)
        if not bodies:
            raise SchemaError(f"slate {request_id!r} of {self._file.path} is damaged and cannot be read.")
        return table_to_slates(_table(bodies))[0]

    def slates(
        self, *, since: datetime | None = None, until: datetime | None = None, columns: Sequence[str] = SLATE.names
    ) -> pa.Table:
        query = f"SELECT arrival, request_id, body FROM slates {BETWEEN}"
        return _columns(self._bodies(self._rows(query, bounds(since, until))), columns)

    def feedback(self, *, since: datetime | None = None, until: datetime | None = None) -> pa.Table:
        query = f"SELECT arrival, {COLUMNS} FROM feedback {BETWEEN}"
        return self._events(self._rows(query, bounds(since, until)))

    def feedback_after(
        self, mark: int, *, since: datetime | None = None, most: int | None = None
    ) -> tuple[pa.Table, int]:
        rows, mark = self._arrived("feedback", COLUMNS, mark, since=since, most=-1 if most is None else most)
        return self._events(rows), mark

    def shown_after(
        self,
        mark: int,
        *,
        since: datetime | None = None,
        most: int = 1000,
        skip: Collection[str] = (),
        columns: Sequence[str] = SHOWN,
    ) -> tuple[pa.Table, int]:
        rows, mark = self._arrived("slates", "request_id, body", mark, since=since, most=most)
        return _columns(self._bodies([row for row in rows if row[1] not in skip]), columns), mark

    def put_catalogue(
        self, subject: Subject, updates: Sequence[CatalogueUpdate], *, known: Collection[str], time: datetime
    ) -> CatalogueReceipt:
        with self._file.transaction() as connection:
            moment = microseconds_of(time)
            return sqlite_catalogue.put(connection, subject, updates, known=known, time=moment)

    def catalogue_after(self, mark: int) -> tuple[list[CatalogueRecord], int]:
        with self._file.connection() as connection:
            return sqlite_catalogue.after(connection, mark)

    def plain_slates_after(self, mark: int, *, most: int) -> tuple[pa.Table, int]:
        """PLAIN_SLATE after `mark`, as it was read: in many small batches; and the next mark."""
        rows, mark = self._arrived("slates", "request_id, body", mark, since=None, most=most)
        return pa.Table.from_batches(self._bodies(rows), PLAIN_SLATE), mark

    def bodies_after(self, mark: int, *, most: int) -> tuple[list[StoredSlate], int]:
        """Slates after `mark`, as they are stored, and the next mark."""
        rows, mark = self._arrived("slates", "request_id, user_id, body", mark, since=None, most=most)
        return [StoredSlate(*row[1:]) for row in rows], mark

    def events_after(self, mark: int, *, most: int) -> tuple[pa.Table, list[str | None], int]:
        """FEEDBACK after `mark`, the `order_keys` that its events were accepted under, and the next mark."""
        rows, mark = self._arrived("feedback", f"{COLUMNS}, {ORDER_KEY}", mark, since=None, most=most)
        keys = {row[1]: row[-1] for row in rows}
        events = self._events([row[:-1] for row in rows])
        return events, [keys[name] for name in events["feedback_id"].to_pylist()] if rows else [], mark

    def quarantined_after(self, mark: int, *, most: int) -> tuple[pa.Table, int]:
        """QUARANTINED after `mark`, and the next mark."""
        rows, mark = self._arrived("quarantine", f"{COLUMNS}, reason", mark, since=None, most=most)
        return _set_apart([row[1:] for row in rows]), mark

    def note(self, name: str) -> str | None:
        """What `keep_note` kept under this name."""
        rows = self._rows("SELECT value FROM about WHERE name = ?", (f"note {name}",))
        return rows[0][0] if rows else None

    def keep_note(self, name: str, text: str) -> None:
        """Keep a text beside what is on record: how far a follower of this log has come."""
        with self._file.connection() as connection:
            connection.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", (f"note {name}", text))

    def names_at(self, feedback: int, slates: int) -> tuple[str | None, str | None]:
        event = self._rows("SELECT feedback_id FROM feedback WHERE arrival = ?", (feedback,))
        slate = self._rows("SELECT request_id FROM slates WHERE arrival = ?", (slates,))
        return event[0][0] if event else None, slate[0][0] if slate else None

    def ends(self) -> tuple[int, int]:
        newest = "(SELECT coalesce(max(arrival), 0) FROM {})"
        query = f"SELECT {newest.format('feedback')}, {newest.format('slates')}"
        feedback, slates = self._rows(query, ())[0]
        return feedback, slates

    def time_of_newest(self, place: int) -> datetime | None:
        """When the slate at that place from the newest (1 = that one) was answered; None where there are fewer."""
        rows = self._rows("SELECT time FROM slates ORDER BY time DESC LIMIT 1 OFFSET ?", (place - 1,))
        return moment_of(rows[0][0]) if rows else None

    def probe(self) -> None:
        self._file.probe("about", NEWEST)

    def backup(self, target: Path) -> None:
        """Write all that is on record into the new file `target`, while others append; raises SchemaError."""
        self._file.backup(target)

    def close(self) -> None:
        self._file.close()

    def _of_ids(self, query: str, column: str, ids: Collection[str]) -> Rows:
        names, rows = list(ids), []
        for start in range(0, len(names), AT_ONCE):
            some = names[start : start + AT_ONCE]
            rows += self._rows(f"{query} WHERE {column} IN ({', '.join('?' * len(some))}) ORDER BY arrival", some)
        return rows

    def _rows(self, query: str, values: Sequence[Any]) -> Rows:
        with self._file.connection() as connection:
            return connection.execute(query, values).fetchall()

    def _arrived(self, source: str, columns: str, mark: int, *, since: datetime | None, most: int) -> tuple[Rows, int]:
        """At most `most` rows (arrival, columns) after `mark`, and the mark to go on from: old rows are read once."""
        earliest = bounds(since, None)[0]
        if mark == 0:  # the index knows where the first row of the period lies; what arrived before need not be read
            query = f"SELECT min(arrival), (SELECT max(arrival) FROM {source}) FROM {source} WHERE time >= ?"
            first, last = self._rows(query, (earliest,))[0]
            mark = (last or 0) if first is None else first - 1
        else:
            last = self._rows(f"SELECT max(arrival) FROM {source}", ())[0][0]
        if (last or 0) <= mark:
            return [], mark
        rows = self._rows(f"SELECT arrival, {columns} FROM {source} {ARRIVED}", (mark, last, earliest, most))
        return rows, rows[-1][0] if len(rows) == most else last

    def _bodies(self, rows: Rows) -> list[pa.RecordBatch]:
        """The slates of rows (arrival, request_id, body) that can be read."""
        with suppress(*UNREADABLE):
            return unpack_all([row[2] for row in rows], [row[1] for row in rows])
        batches, damaged = [], []
        for arrival, name, body in rows:
            try:
                batches.append(unpack(body, name))
            except UNREADABLE as error:
                damaged.append(("slates", arrival, str(name), str(error)))
        self._pass_over(damaged)
        return batches

    def _events(self, rows: Rows) -> pa.Table:
        """FEEDBACK of those rows (arrival, columns) that can be read."""
        try:
            return _events([row[1:] for row in rows])
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            sound, damaged = [], []
            for row in rows:
                try:
                    sound.append(row)
                    _events([row[1:]])
                except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
                    damaged.append(("feedback", row[0], str(sound.pop()[1]), str(error)))
            self._pass_over(damaged)
            return _events([row[1:] for row in sound])

    def _pass_over(self, damaged: list[tuple[str, int, str, str]]) -> None:
        """Name damaged rows, the first time that they are met: in the program's log and in the table `damaged`."""
        for row in damaged:
            source, arrival, name, reason = row
            known = self._rows("SELECT 1 FROM damaged WHERE source = ? AND arrival = ?", (source, arrival))
            if not known:
                where = f"{self._file.path}: row {arrival} of {source} ({name!r})"
                logger.error("%s is damaged and passed over: %s", where, reason)
                with suppress(LogUnavailable), self._file.connection() as connection:
                    connection.execute(ADD_DAMAGED, row)


def _ordered_before(connection: sqlite3.Connection, key: str, event: tuple[Any, ...]) -> bool:
    """Whether order and item are on record under another feedback id; if not, they are from now on under this one."""
    feedback_id, item_id = event[FEEDBACK.get_field_index("feedback_id")], event[FEEDBACK.get_field_index("item_id")]
    if connection.execute(ADD_ORDER, (key, item_id, feedback_id)).rowcount:
        return False
    query = "SELECT feedback_id FROM orders WHERE order_key = ? AND item_id = ?"
    return connection.execute(query, (key, item_id)).fetchone()[0] != feedback_id


def _prepare(file: SqliteFile) -> None:
    """Make the parts that are missing; a log that has them all is only read, which needs no lock."""
    with file.connection() as connection:
        parts = {name for (name,) in connection.execute(PRESENT)}
    if not parts >= PARTS:
        with file.transaction() as connection:
            for statement in filter(str.strip, (CREATE + sqlite_catalogue.CREATE).split(";")):
                connection.execute(statement)
            if ("slates.user_id",) not in connection.execute(PRESENT).fetchall():
                connection.execute(ADD_USER)
            connection.execute("INSERT OR IGNORE INTO about VALUES ('schema_version', ?)", (str(SCHEMA_VERSION),))
    with file.connection() as connection:
        (version,) = connection.execute("SELECT value FROM about WHERE name = 'schema_version'").fetchone()
    if version != str(SCHEMA_VERSION):
        raise SchemaError(
            f"{file.path} holds a log of schema version {version}, this program writes {SCHEMA_VERSION}. "
            "Begin a new file, and read the old one with the program that wrote it."
        )


def _table(batches: list[pa.RecordBatch]) -> pa.Table:
    return pa.Table.from_batches(batches, PLAIN_SLATE).combine_chunks().cast(SLATE)


def _columns(batches: list[pa.RecordBatch], names: Sequence[str]) -> pa.Table:
    schema = pa.schema([SLATE.field(name) for name in names], metadata=SLATE.metadata)
    return pa.Table.from_batches(batches, PLAIN_SLATE).select(schema.names).combine_chunks().cast(schema)


def _set_apart(rows: Rows) -> pa.Table:
    """QUARANTINED of rows (columns, reason)."""
    if not rows:
        return NONE_QUARANTINED
    reasons = pa.array([row[-1] for row in rows], pa.string())
    return _events([row[:-1] for row in rows]).append_column(QUARANTINED.field("reason"), reasons)


def _events(rows: Rows) -> pa.Table:
    if not rows:
        return NO_EVENTS
    columns = [pa.array([row[j] for row in rows], f.type) for j, f in enumerate(PLAIN_FEEDBACK)]
    table = pa.Table.from_arrays(columns, schema=PLAIN_FEEDBACK).cast(FEEDBACK)
    for time in pc.min_max(table["time"]).values():
        time.as_py()  # years that no calendar has
    return table
