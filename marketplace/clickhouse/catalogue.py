"""Catalogue records in ClickHouse: one row an item or merchant, numbered by its last change."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import pyarrow as pa

from marketplace.catalogue_records import (
    CatalogueReceipt,
    CatalogueRecord,
    CatalogueUpdate,
    Subject,
    merged,
    record_of,
    text_of,
    write_updates,
)
from marketplace.clickhouse import arrival
from marketplace.clickhouse.connection import ClickhouseClient

ROW = pa.schema([("subject", pa.string()), ("name", pa.string()), ("first", pa.uint64()), ("body", pa.string())])
RECORDS = f"SELECT {', '.join(ROW.names)} FROM catalogue FINAL"
NAMED = f"{RECORDS} WHERE name IN {{names:Array(String)}}"


def put(
    connection: ClickhouseClient,
    subject: Subject,
    updates: Sequence[CatalogueUpdate],
    *,
    known: Collection[str],
    time: int,
) -> CatalogueReceipt:
    """Write a batch of updates, as `Log.put_catalogue` does; `time` in UTC microseconds."""
    with connection.held():
        before = _of_names(connection, {update.name for update in updates})
        begun = int(connection.rows("SELECT count() FROM catalogue FINAL")[0][0])
        batch = write_updates(
            updates, lambda name: before.get((subject, name)), subject=subject, known=known, time=time, begun=begun
        )
        return CatalogueReceipt(batch.fates, _write(connection, batch.changed.values()))


def merge(connection: ClickhouseClient, records: Sequence[CatalogueRecord]) -> None:
    """Write records of another log: of each field the greatest version counts."""
    with connection.held():
        before = _of_names(connection, {record.name for record in records})
        after = [merged(before.get((one.subject, one.name), one), one) for one in records]
        _write(connection, [one for one in after if before.get((one.subject, one.name)) != one])


def after(connection: ClickhouseClient, mark: int) -> tuple[list[CatalogueRecord], int]:
    """Records that changed after `mark`, in the order in which they began, and the mark to go on from."""
    end = arrival.last(connection, "catalogue")
    rows = connection.rows(f"{RECORDS} WHERE arrival > {mark} AND arrival <= {end} ORDER BY first")
    return [record_of(*row) for row in rows], max(mark, end)


def _of_names(connection: ClickhouseClient, names: Collection[str]) -> dict[tuple[Subject, str], CatalogueRecord]:
    records = [record_of(*row) for row in connection.rows(NAMED, {"names": list(names)})]
    return {(record.subject, record.name): record for record in records}


def _write(connection: ClickhouseClient, records: Iterable[CatalogueRecord]) -> int:
    rows = [(str(one.subject), one.name, one.first, text_of(one)) for one in records]
    columns = list(zip(*rows, strict=True)) or [()] * len(ROW)
    return arrival.insert(connection, "catalogue", pa.table(dict(zip(ROW.names, columns, strict=True)), schema=ROW))
