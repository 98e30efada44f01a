"""The log in one SQLite file that several processes of one machine append to at once.

A slate is one row: request_id, time and `body`, the record-batch message of Arrow's IPC format in
`slates.PLAIN_SLATE`, LZ4-compressed, without the schema, which the file's `schema_version` implies (the schema alone
would take some 10 KB a row). Feedback lies in plain columns, so that SQL can read it.

Durability: SQLite in WAL mode. An acknowledged append has reached the operating system and survives `kill -9` of
every process; with `survive_power_loss` each append also waits for the disk (`synchronous` FULL, not NORMAL).
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import RLock
from time import monotonic, sleep

import pyarrow as pa

from marketplace.log import SHOWN, DuplicateRequest, Receipt, UnknownRequest, admit, bounds
from marketplace.schema import FEEDBACK, SCHEMA_VERSION, SLATE, SchemaError
from marketplace.slate import Slate, slates_to_batch, table_to_slates
from marketplace.slate_columns import PLAIN_SLATE, plain

CREATE = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS slates (
    arrival INTEGER PRIMARY KEY, request_id TEXT NOT NULL UNIQUE, time INTEGER NOT NULL, body BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS slates_by_time ON slates (time, arrival);
CREATE TABLE IF NOT EXISTS feedback (
    arrival INTEGER PRIMARY KEY, feedback_id TEXT NOT NULL UNIQUE, request_id TEXT, event TEXT NOT NULL,
    time INTEGER NOT NULL, user_id TEXT NOT NULL, item_id TEXT NOT NULL, amount REAL, currency TEXT,
    session_id TEXT, detail TEXT);
CREATE INDEX IF NOT EXISTS feedback_by_time ON feedback (time, arrival);
"""
COLUMNS = ", ".join(FEEDBACK.names)
ADD_SLATE = "INSERT INTO slates (request_id, time, body) VALUES (?, ?, ?)"
ADD_FEEDBACK = f"INSERT OR IGNORE INTO feedback ({COLUMNS}) VALUES ({', '.join('?' * len(FEEDBACK))})"
BETWEEN = "WHERE time >= ? AND time < ? ORDER BY time, arrival"
ARRIVED = "WHERE arrival > ? AND time >= ? ORDER BY arrival LIMIT ?"
PLAIN_FEEDBACK = pa.schema(
    [f.with_type(pa.int64() if pa.types.is_timestamp(f.type) else plain(f.type)) for f in FEEDBACK]
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CODEC = pa.Codec("lz4_raw")


class SqliteLog:
    """A `Log` in the file `path`, made if it is not there.

    Safe to use from several threads and processes, forked ones included: each process opens its own connection. A
    writer waits up to `patience` for the others. Raises SchemaError for a file that is no log or of another schema
    version.
    """

    def __init__(
        self, path: Path | str, *, patience: timedelta = timedelta(seconds=30), survive_power_loss: bool = False
    ) -> None:
        self._path = Path(path)
        self._patience = patience
        self._synchronous = "FULL" if survive_power_loss else "NORMAL"
        self._lock = RLock()
        self._connections: dict[int, sqlite3.Connection] = {}  # by process; a forked child must not close its parent's
        with self._transaction() as connection:
            _prepare(connection, self._path)

    def append(self, slate: Slate) -> None:
        batch = slates_to_batch([slate])
        row = (slate.request_id, (slate.time - EPOCH) // timedelta(microseconds=1), _pack(batch))
        try:
            with self._open() as connection:
                connection.execute(ADD_SLATE, row)
        except sqlite3.IntegrityError as error:
            raise DuplicateRequest(slate.request_id) from error

    def append_feedback(self, feedback: pa.Table) -> Receipt:
        table = admit(feedback).cast(PLAIN_FEEDBACK)
        rows = list(zip(*(column.to_pylist() for column in table.columns), strict=True))
        with self._transaction() as connection:
            accepted = connection.executemany(ADD_FEEDBACK, rows).rowcount if rows else 0
        return Receipt(accepted=accepted, duplicates=len(rows) - accepted)

    def slate(self, request_id: str) -> Slate:
        with self._open() as connection:
            row = connection.execute("SELECT body FROM slates WHERE request_id = ?", (request_id,)).fetchone()
        if row is None:
            raise UnknownRequest(request_id)
        return table_to_slates(_table([row[0]]))[0]

    def slates(self, *, since: datetime | None = None, until: datetime | None = None) -> pa.Table:
        with self._open() as connection:
            rows = connection.execute(f"SELECT body FROM slates {BETWEEN}", bounds(since, until)).fetchall()
        return _table([body for (body,) in rows])

    def feedback(self, *, since: datetime | None = None, until: datetime | None = None) -> pa.Table:
        with self._open() as connection:
            rows = connection.execute(f"SELECT {COLUMNS} FROM feedback {BETWEEN}", bounds(since, until)).fetchall()
        columns = [pa.array([row[j] for row in rows], f.type) for j, f in enumerate(PLAIN_FEEDBACK)]
        return pa.Table.from_arrays(columns, schema=PLAIN_FEEDBACK).cast(FEEDBACK)

    def feedback_after(self, mark: int, *, since: datetime | None = None) -> tuple[pa.Table, int]:
        query = f"SELECT arrival, {COLUMNS} FROM feedback {ARRIVED}"
        with self._open() as connection:
            rows = connection.execute(query, (mark, bounds(since, None)[0], -1)).fetchall()
        columns = [pa.array([row[j] for row in rows], f.type) for j, f in enumerate(PLAIN_FEEDBACK, 1)]
        table = pa.Table.from_arrays(columns, schema=PLAIN_FEEDBACK).cast(FEEDBACK)
        return table, rows[-1][0] if rows else mark

    def shown_after(
        self,
        mark: int,
        *,
        since: datetime | None = None,
        most: int = 1000,
        skip: Collection[str] = (),
        columns: Sequence[str] = SHOWN,
    ) -> tuple[pa.Table, int]:
        query = f"SELECT arrival, request_id, body FROM slates {ARRIVED}"
        with self._open() as connection:
            rows = connection.execute(query, (mark, bounds(since, None)[0], most)).fetchall()
        table = pa.Table.from_batches([_unpack(body) for _, name, body in rows if name not in skip], PLAIN_SLATE)
        schema = pa.schema([SLATE.field(name) for name in columns], metadata=SLATE.metadata)
        return table.select(schema.names).combine_chunks().cast(schema), rows[-1][0] if rows else mark

    def close(self) -> None:
        with self._lock:
            if connection := self._connections.pop(os.getpid(), None):
                connection.close()

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """This process's connection, held for one statement that commits by itself."""
        with self._lock:
            if os.getpid() not in self._connections:
                self._connections[os.getpid()] = self._connect()
            yield self._connections[os.getpid()]

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._open() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def _connect(self) -> sqlite3.Connection:
        wait = self._patience.total_seconds()
        try:
            connection = sqlite3.connect(self._path, timeout=wait, isolation_level=None, check_same_thread=False)
            _use_wal(connection, patience=wait)
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        except sqlite3.DatabaseError as error:
            raise SchemaError(
                f"{self._path} cannot be opened as a log: {error}. Name a new file in a folder that can be written to."
            ) from error
        return connection


def _use_wal(connection: sqlite3.Connection, *, patience: float) -> None:
    """Switch to WAL; SQLite does not wait by itself where another process is switching at the same moment."""
    deadline = monotonic() + patience
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or monotonic() > deadline:
                raise
            sleep(0.01)


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    for statement in filter(str.strip, CREATE.split(";")):
        connection.execute(statement)
    connection.execute("INSERT OR IGNORE INTO about VALUES ('schema_version', ?)", (str(SCHEMA_VERSION),))
    (version,) = connection.execute("SELECT value FROM about WHERE name = 'schema_version'").fetchone()
    if version != str(SCHEMA_VERSION):
        raise SchemaError(
            f"{path} holds a log of schema version {version}, this program writes {SCHEMA_VERSION}. "
            "Begin a new file, and read the old one with the program that wrote it."
        )


def _pack(batch: pa.RecordBatch) -> bytes:
    message = batch.serialize()
    return message.size.to_bytes(4, "little") + CODEC.compress(message, asbytes=True)


def _unpack(body: bytes) -> pa.RecordBatch:
    message = CODEC.decompress(memoryview(body)[4:], int.from_bytes(body[:4], "little"))
    return pa.ipc.read_record_batch(message, PLAIN_SLATE)


def _table(bodies: list[bytes]) -> pa.Table:
    return pa.Table.from_batches(map(_unpack, bodies), PLAIN_SLATE).combine_chunks().cast(SLATE)
