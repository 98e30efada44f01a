"""One SQLite file in WAL mode that several processes write to: its connections, its waits, and whether it can be used.

Each process opens its own connection; a forked child leaves its parent's alone. A lock is waited for up to `patience`.
The file is known by its inode: where the path leads to another file, or to none, nothing is read or written.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from threading import RLock
from time import monotonic, sleep

from marketplace.log import LogUnavailable
from marketplace.schema import SchemaError

PRIVATE = 0o600  # a new file holds what shoppers did: for its owner alone


class SqliteFile:
    """The file `path`; with `survive_power_loss` each commit waits for the disk (`synchronous` FULL, not NORMAL).

    Safe to use from several threads, one statement or transaction at a time.
    """

    def __init__(self, path: Path, *, patience: timedelta, survive_power_loss: bool) -> None:
        self.path = path
        self._patience = patience
        self._synchronous = "FULL" if survive_power_loss else "NORMAL"
        self._lock = RLock()
        self._connections: dict[int, tuple[sqlite3.Connection, tuple[int, int]]] = {}  # and the inode, by process

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """This process's connection, held for one statement that commits by itself; raises LogUnavailable."""
        with self._lock:
            if os.getpid() not in self._connections:
                self._connections[os.getpid()] = self._connect()
            connection, opened = self._connections[os.getpid()]
            self._check_place(opened)
            try:
                yield connection
            except sqlite3.IntegrityError:
                raise
            except sqlite3.DatabaseError as error:
                raise LogUnavailable(f"the log {self.path} cannot be used: {error}. {_advice(error)}") from error

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing; raises LogUnavailable."""
        with self.connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.OperationalError):  # SQLite has rolled back by itself where the disk is full
                    connection.execute("ROLLBACK")
                raise

    def probe(self, table: str, size: str) -> None:
        """Write `size` bytes (SQL) into a table of names and values, and take them out again; raises LogUnavailable.

        As many as will be written next: on a disk that is nearly full fewer would still fit.
        """
        with self.connection() as connection:
            connection.execute(f"INSERT OR REPLACE INTO {table} VALUES ('probed', zeroblob({size}))")
            connection.execute(f"DELETE FROM {table} WHERE name = 'probed'")

    def backup(self, target: Path) -> None:
        """Write all that is committed into the new file `target`, while others go on writing; raises SchemaError."""
        draft = target.with_name(f".{target.name}.{os.getpid()}")
        draft.unlink(missing_ok=True)
        try:
            with self.connection() as connection:
                draft.touch(PRIVATE)
                connection.execute("VACUUM INTO ?", (str(draft),))
            os.link(draft, target)  # unlike a rename, never over a file that is there
        except FileExistsError:
            raise SchemaError(f"{target} exists already; a backup never overwrites a file. Name another.") from None
        finally:
            draft.unlink(missing_ok=True)

    def close(self) -> None:
        """Close this process's connection; the last to close moves everything from the WAL into the file."""
        with self._lock:
            connection, opened = self._connections.pop(os.getpid(), (None, (0, 0)))
            if connection is None:
                return
            with suppress(sqlite3.DatabaseError, LogUnavailable):
                self._check_place(opened)
                connection.execute("PRAGMA busy_timeout = 0")
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.close()

    def _check_place(self, opened: tuple[int, int]) -> None:
        if _inode(self.path) != opened:
            raise LogUnavailable(
                f"the log {self.path} was deleted, moved or replaced while it was in use; nothing is written to what "
                "is left. Put it back, or start the service again to begin a new one."
            )

    def _connect(self) -> tuple[sqlite3.Connection, tuple[int, int]]:
        wait = self._patience.total_seconds()
        with suppress(OSError):  # there already, or not to be made: SQLite says why
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL, PRIVATE))  # its WAL gets the same mode
        try:
            connection = sqlite3.connect(self.path, timeout=wait, isolation_level=None, check_same_thread=False)
            _use_wal(connection, patience=wait)
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        except sqlite3.DatabaseError as error:
            raise SchemaError(
                f"{self.path} cannot be opened as a log: {error}. Name a new file in a folder that can be written to."
            ) from error
        return connection, _inode(self.path)


def _use_wal(connection: sqlite3.Connection, *, patience: float) -> None:
    """Switch to WAL; SQLite does not wait by itself where another process is switching at the same moment.

    A file that is in WAL mode already is only read, which needs no lock.
    """
    deadline = monotonic() + patience
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or monotonic() > deadline:
                raise
            sleep(0.01)


def _inode(path: Path) -> tuple[int, int]:
    """Device and inode; (0, 0) where there is no file."""
    try:
        status = os.stat(path)
    except OSError:
        return (0, 0)
    return status.st_dev, status.st_ino


def _advice(error: sqlite3.DatabaseError) -> str:
    if "locked" in str(error) or "busy" in str(error):
        return "Another process holds it; try again."
    if "malformed" in str(error) or "not a database" in str(error):
        return "Go on with a backup (`value-model log backup` makes them)."
    return "Make room, or let the service write there."
