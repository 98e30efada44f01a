"""The one place that names ClickHouse: a client of the embedded engine or of a server, chosen by the log's address.

    chdb:///FOLDER        in this process, which has one folder open at most, as a folder has one process
    clickhouse://USER:PASSWORD@HOST:PORT/DATABASE

Both take `run=FOLDER` (`marketplace.log_place`); what else stands in an address's query is a setting of ClickHouse,
such as `max_memory_usage=4000000000`. The embedded engine has databases too: `database=NAME`, or else `log`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import RLock
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import pyarrow as pa

from marketplace.log import LogUnavailable
from marketplace.log_place import shown_place

EMBEDDED, DATABASE = "chdb", "log"
SETTINGS = {
    "max_partitions_per_insert_block": 0,  # an old log is loaded in batches of many days
    "max_query_size": 1 << 28,  # names of a batch stand in its query
    "optimize_on_insert": 0,  # a batch holds no row twice, and whoever reads merges
    "output_format_arrow_string_as_string": 1,
}
IN_MEMORY = 1 << 30  # bytes that the embedded engine sorts, groups or joins by in memory; what is more goes to disk
SPILLED = {f"max_bytes_before_external_{work}": IN_MEMORY for work in ("sort", "group_by", "join")}


class ClickhouseClient:
    """One query at a time, from any thread of the process that opened it; raises LogUnavailable."""

    def __init__(self, address: str) -> None:
        self.place = shown_place(address)
        self._lock, self._process = RLock(), os.getpid()
        self._client = self._open(address)

    def command(self, statement: str) -> None:
        """Run a statement that answers nothing."""
        with self.held() as client:
            client.command(statement)

    def rows(self, query: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        with self.held() as client:
            return [tuple(row) for row in client.query(query, parameters=parameters).result_rows]

    def table(self, query: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        with self.held() as client:
            answer: pa.Table = client.query_arrow(query, parameters=parameters)
            return answer

    def insert(self, name: str, rows: pa.Table) -> None:
        """Rows into a table, at once or not at all where they are of one day (of feedback, one month)."""
        with self.held() as client:
            client.insert_arrow(name, rows)

    @contextmanager
    def held(self) -> Iterator[Any]:
        """The client, for several queries that nobody of this process comes between."""
        from clickhouse_connect.driver.exceptions import Error

        if os.getpid() != self._process:
            raise LogUnavailable(f"the log {self.place} was opened before this process was forked; open it again.")
        with self._lock:
            try:
                yield self._client
            except Error as error:
                raise LogUnavailable(f"the log {self.place} cannot be used: {_first_line(error)}") from error

    def close(self) -> None:
        with self._lock:
            self._client.close()

    def _open(self, address: str) -> Any:
        try:
            import clickhouse_connect
            from clickhouse_connect.driver.exceptions import Error
        except ImportError as error:
            raise _no_package(self.place) from error
        dsn, database, settings = _parts(address)
        try:
            own = SPILLED if dsn.startswith(EMBEDDED) else {}
            client = clickhouse_connect.get_client(dsn=dsn, settings=SETTINGS | own | settings)
            if database is not None:
                client.command(f"CREATE DATABASE IF NOT EXISTS `{database}`")
                client.database = database
        except ImportError as error:
            raise _no_package(self.place) from error
        except Error as error:
            reason = f"{_first_line(error)} {_advice(error)}"
            raise LogUnavailable(f"the log {self.place} cannot be opened: {reason}") from error
        return client


def _parts(address: str) -> tuple[str, str | None, dict[str, str]]:
    """The address as the client reads it, the database that it makes first (None = it must be there), and settings.

    The client takes settings out of a server's address, but not out of a folder's.
    """
    parts = urlsplit(address)
    if parts.scheme == EMBEDDED and parts.netloc:
        raise ValueError(f"{address} names no folder: write {EMBEDDED}:///FOLDER, with three slashes and a whole path.")
    query = dict(parse_qsl(parts.query))
    query.pop("run", None)
    database = query.pop("database", DATABASE) if parts.scheme == EMBEDDED else None
    if database is not None and not database.isidentifier():
        raise ValueError(f"{shown_place(address)}: a database's name has letters, digits and _; received {database!r}.")
    if parts.scheme == EMBEDDED:
        return urlunsplit(parts._replace(query="")), database, query
    return urlunsplit(parts._replace(query=urlencode(query))), database, {}


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:400]


def _advice(error: Exception) -> str:
    text = str(error)
    if "with different path" in text:
        return "This process has another folder open already: an embedded engine holds one."
    if "initializing EmbeddedServer" in text:
        return "Is it open in another process? A folder belongs to one. Close that, or keep the log on a server."
    return "Is the server up, and its database made?"


def _no_package(place: str) -> ValueError:
    return ValueError(f"{place} needs clickhouse-connect and chdb: install them with `pip install value-model[live]`.")
