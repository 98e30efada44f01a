"""Catalogue records as a table of the log's SQLite file: one row an item or merchant, numbered by its last change."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence

from marketplace.catalogue_records import (
    CatalogueReceipt,
    CatalogueRecord,
    CatalogueUpdate,
    Subject,
    record_of,
    text_of,
    write_updates,
)

CREATE = """
CREATE TABLE IF NOT EXISTS catalogue (
    arrival INTEGER PRIMARY KEY, subject TEXT NOT NULL, name TEXT NOT NULL, first INTEGER NOT NULL, body TEXT NOT NULL,
    UNIQUE (subject, name));
"""
MARK = "(SELECT coalesce(max(arrival), 0) FROM catalogue)"
BEGUN = "SELECT value FROM about WHERE name = 'catalogue_records'"


def put(
    connection: sqlite3.Connection,
    subject: Subject,
    updates: Sequence[CatalogueUpdate],
    *,
    known: Collection[str],
    time: int,
) -> CatalogueReceipt:
    """Write a batch inside the caller's transaction; `time` in UTC microseconds."""
    mark = latest(connection)
    counted = connection.execute(BEGUN).fetchone()
    begun = 0 if counted is None else int(counted[0])

    def read(name: str) -> CatalogueRecord | None:
        query = "SELECT subject, name, first, body FROM catalogue WHERE subject = ? AND name = ?"
        row = connection.execute(query, (subject, name)).fetchone()
        return None if row is None else record_of(*row)

    batch = write_updates(updates, read, subject=subject, known=known, time=time, begun=begun)
    rows = [
        (mark + place, subject, name, record.first, text_of(record))
        for place, (name, record) in enumerate(batch.changed.items(), 1)
    ]
    connection.executemany("INSERT OR REPLACE INTO catalogue VALUES (?, ?, ?, ?, ?)", rows)
    connection.execute("INSERT OR REPLACE INTO about VALUES ('catalogue_records', ?)", (str(batch.begun),))
    return CatalogueReceipt(batch.fates, mark + len(rows))


def latest(connection: sqlite3.Connection) -> int:
    """The number of the last change; 0 = none."""
    return int(connection.execute(f"SELECT {MARK}").fetchone()[0])


def after(connection: sqlite3.Connection, mark: int) -> tuple[list[CatalogueRecord], int]:
    """Records that changed after `mark`, in the order in which they began, and the mark to go on from."""
    query = "SELECT subject, name, first, body, arrival FROM catalogue WHERE arrival > ?"
    rows = connection.execute(query, (mark,)).fetchall()
    records = sorted((record_of(*row[:4]) for row in rows), key=lambda record: record.first)
    return records, max((row[4] for row in rows), default=mark)
