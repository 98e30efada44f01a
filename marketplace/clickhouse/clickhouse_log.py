"""The log in ClickHouse: where the logs of services are brought together and a month of them is read.

It is written in batches by a loader or a consumer, one process at a time, and read like every other log; services keep
their answers in a log of their own, and what only that can promise (`SERVICES_OWN`) is refused here. Whatever is
appended again, after a kill in the middle of a batch too, is left out by its id.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from marketplace.catalogue_records import CatalogueReceipt, CatalogueRecord, CatalogueUpdate, Subject
from marketplace.clickhouse import arrival, catalogue
from marketplace.clickhouse.connection import ClickhouseClient
from marketplace.clickhouse.migrations import migrate
from marketplace.clickhouse.orders import reasons_with_repeats
from marketplace.log import (
    FIRST,
    LAST,
    QUARANTINED,
    SHOWN,
    DuplicateRequest,
    Receipt,
    UnknownRequest,
    admit,
    bounds,
    without_requests,
)
from marketplace.schema import FEEDBACK, SLATE, SchemaError, conform
from marketplace.slate import Slate, slates_to_table, table_to_slates
from marketplace.slate_columns import PLAIN_SLATE

AT_ONCE = 20_000  # ids of one query
PERIODS = {"slates": "day", "feedback": "month"}  # that a table is parted by
EARLIEST, LATEST = datetime(1900, 1, 1, tzinfo=UTC), datetime(2300, 1, 1, tzinfo=UTC)  # what its times can hold
SERVICES_OWN = "A service keeps it in a log of its own (SQLite), which `value-model load-log` brings here."


class ClickhouseLog:
    """A `Log` at an address of `clickhouse.connection`; its tables are made where they are missing.

    Raises ValueError for an address that is none, SchemaError for tables of a later program, LogUnavailable.
    """

    def __init__(self, address: str) -> None:
        self.connection = ClickhouseClient(address)
        migrate(self.connection)

    def append(self, slate: Slate, *, catalogue: int | None = None) -> None:
        if catalogue is not None:
            self._refuse("answers that hold to a catalogue's mark")
        if not self.append_slates(slates_to_table([slate])).accepted:
            raise DuplicateRequest(slate.request_id)

    def append_slates(self, slates: pa.Table) -> Receipt:
        """Store a batch (SLATE); of a request that is on record, and of repeats in the batch, the first is kept."""
        table = _dated(conform(slates, PLAIN_SLATE, where="slates"), where="slates")
        return Receipt(*self._append("slates", table, by="request_id"))

    def append_feedback(
        self,
        feedback: pa.Table,
        *,
        reasons: Sequence[str | None] | None = None,
        order_keys: Sequence[str | None] | None = None,
    ) -> Receipt:
        table = _dated(admit(feedback), where="feedback")
        unsettled = reasons or [None] * len(table)
        reasons = reasons_with_repeats(self.connection, table, unsettled, order_keys or ())
        apart = pa.array(reasons, pa.string())
        accepted, duplicates = self._append("feedback", table.filter(pc.is_null(apart)), by="feedback_id")
        reasoned = table.append_column(QUARANTINED.field("reason"), pa.chunked_array([apart.fill_null("")]))
        arrival.insert(self.connection, "quarantine", reasoned.filter(pc.is_valid(apart)))
        return Receipt(accepted, duplicates, dict(Counter(reason for reason in reasons if reason is not None)))

    def slate(self, request_id: str) -> Slate:
        table = self.slates_of([request_id], columns=SLATE.names)
        if not len(table):
            raise UnknownRequest(request_id)
        return table_to_slates(table)[0]

    def slates_of(self, request_ids: Collection[str], *, columns: Sequence[str] = SHOWN) -> pa.Table:
        return self._of_ids("slates", columns, request_ids, by="request_id")

    def feedback_of(self, feedback_ids: Collection[str]) -> pa.Table:
        return self._of_ids("feedback", FEEDBACK.names, feedback_ids, by="feedback_id")

    def quarantined(self) -> pa.Table:
        return self._read("quarantine", QUARANTINED.names, "ORDER BY arrival")

    def slates(
        self, *, since: datetime | None = None, until: datetime | None = None, columns: Sequence[str] = SLATE.names
    ) -> pa.Table:
        within, values = _within(since, until)
        return self._read("slates", columns, f"WHERE {within} ORDER BY time, arrival", values)

    def feedback(self, *, since: datetime | None = None, until: datetime | None = None) -> pa.Table:
        within, values = _within(since, until)
        return self._read("feedback", FEEDBACK.names, f"WHERE {within} ORDER BY time, arrival", values)

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

    def put_catalogue(
        self, subject: Subject, updates: Sequence[CatalogueUpdate], *, known: Collection[str], time: datetime
    ) -> CatalogueReceipt:
        moment = bounds(time, None)[0]
        return catalogue.put(self.connection, subject, updates, known=known, time=moment)

    def merge_records(self, records: Sequence[CatalogueRecord]) -> None:
        """Write catalogue records of another log: of each field the greatest version counts."""
        catalogue.merge(self.connection, records)

    def catalogue_after(self, mark: int) -> tuple[list[CatalogueRecord], int]:
        return catalogue.after(self.connection, mark)

    def names_at(self, feedback: int, slates: int) -> tuple[str | None, str | None]:
        event = self.connection.rows(f"SELECT feedback_id FROM feedback FINAL WHERE arrival = {feedback}")
        slate = self.connection.rows(f"SELECT request_id FROM slates FINAL WHERE arrival = {slates}")
        return event[0][0] if event else None, slate[0][0] if slate else None

    def ends(self) -> tuple[int, int]:
        newest = "(SELECT max(arrival) FROM {})"
        feedback, slates = self.connection.rows(f"SELECT {newest.format('feedback')}, {newest.format('slates')}")[0]
        return feedback, slates

    def probe(self) -> None:
        self._refuse("answers one by one")

    def keep(self, days: int) -> None:
        """From now on drop whole days (of feedback, months) that ended more than `days` days ago."""
        for name in ("slates", "feedback"):
            self.connection.command(f"ALTER TABLE {name} MODIFY TTL toDateTime(time) + INTERVAL {days:d} DAY")

    def close(self) -> None:
        self.connection.close()

    def _refuse(self, what: str) -> NoReturn:
        raise ValueError(f"{self.connection.place} does not keep {what}. {SERVICES_OWN}")

    def _append(self, name: str, table: pa.Table, *, by: str) -> tuple[int, int]:
        """Store the rows whose id is new; how many, and how many were repeats."""
        with self.connection.held():
            fresh = _first_of_each(table, by)
            if known := self._known(name, fresh[by].to_pylist(), by=by):
                fresh = fresh.filter(pc.invert(pc.is_in(fresh[by], pa.array(known, pa.string()))))
            for part in _by_period(fresh, PERIODS[name]):  # stored at once: who follows by arrival never reads past one
                arrival.insert(self.connection, name, part)
        return len(fresh), len(table) - len(fresh)

    def _known(self, name: str, ids: Collection[str], *, by: str) -> list[str]:
        """Those of the ids that are on record."""
        query = f"SELECT DISTINCT {by} FROM {name} WHERE {_among(by)}"
        return [known for some in _parts(ids) for (known,) in self.connection.rows(query, {"ids": some})]

    def _of_ids(self, name: str, columns: Sequence[str], ids: Collection[str], *, by: str) -> pa.Table:
        tables = [
            self._read(name, columns, f"WHERE {_among(by)} ORDER BY arrival", {"ids": some}) for some in _parts(ids)
        ]
        return pa.concat_tables(tables or [_schema(name, columns).empty_table()])

    def _after(
        self, name: str, columns: Sequence[str], mark: int, *, since: datetime | None, most: int | None
    ) -> tuple[pa.Table, int]:
        """At most `most` rows beyond the mark, and the next mark: that of the last of them, or of all there is."""
        within, values = _within(since, None)
        condition = f"arrival > {mark} AND {within}"
        last = arrival.last(self.connection, name)
        if most is not None:
            query = f"SELECT arrival FROM {name} WHERE {condition} ORDER BY arrival LIMIT 1 OFFSET {most - 1}"
            last = next((row[0] for row in self.connection.rows(query, values)), last)
        rest = f"WHERE {condition} AND arrival <= {last} ORDER BY arrival"
        return self._read(name, columns, rest, values), max(mark, last)

    def _read(
        self, name: str, columns: Sequence[str], rest: str, parameters: Mapping[str, Any] | None = None
    ) -> pa.Table:
        schema = _schema(name, columns)
        query = f"SELECT {', '.join(schema.names)} FROM {name} FINAL {rest}"
        return self.connection.table(query, parameters).combine_chunks().cast(schema)


def _schema(name: str, columns: Sequence[str]) -> pa.Schema:
    whole = {"slates": SLATE, "feedback": FEEDBACK, "quarantine": QUARANTINED}[name]
    return pa.schema([whole.field(column) for column in dict.fromkeys(columns)], metadata=whole.metadata)


def _within(since: datetime | None, until: datetime | None) -> tuple[str, dict[str, int]]:
    """The condition on `time`, and its values."""
    first, last = bounds(since, until)
    named = {"since": (">=", first, FIRST), "until": ("<", last, LAST)}
    used = {name: (sign, value) for name, (sign, value, none) in named.items() if value != none}
    parts = [f"time {sign} fromUnixTimestamp64Micro({{{name}:Int64}}, 'UTC')" for name, (sign, _) in used.items()]
    return " AND ".join(parts) or "true", {name: value for name, (_, value) in used.items()}


def _among(by: str) -> str:
    """The condition that a row's id is one of `ids`, told by its hash first."""
    ids = "{ids:Array(String)}"
    return f"id_hash IN (SELECT cityHash64(arrayJoin({ids}))) AND {by} IN {ids}"


def _parts(ids: Collection[str]) -> Iterator[list[str]]:
    rest = iter(ids)
    while some := list(islice(rest, AT_ONCE)):
        yield some


def _first_of_each(table: pa.Table, by: str) -> pa.Table:
    """The rows whose id no row above has."""
    coded = table[by].combine_chunks().dictionary_encode().indices.to_numpy()
    rows = np.unique(coded, return_index=True)[1]
    return table if len(rows) == len(table) else table.take(pa.array(np.sort(rows)))


def _by_period(table: pa.Table, unit: str) -> Iterator[pa.Table]:
    """The rows of one day or month after another; without a copy where they come in that order."""
    period = pc.floor_temporal(table["time"], unit=unit).to_numpy()
    order = np.argsort(period, kind="stable")
    if (np.diff(order) != 1).any():
        table = table.take(pa.array(order))
    counts = np.unique(period, return_counts=True)[1]
    for end, count in zip(np.cumsum(counts), counts, strict=True):
        yield table.slice(end - count, count)


def _dated(table: pa.Table, *, where: str) -> pa.Table:
    """The table; raises SchemaError for a time that ClickHouse cannot hold."""
    time, (first, end) = table["time"].cast(pa.int64()), bounds(EARLIEST, LATEST)
    row = pc.or_(pc.less(time, first), pc.greater_equal(time, end)).index(True).as_py()
    if row >= 0:
        raise SchemaError(f"{where} row {row}: time {table['time'][row]} lies outside the years 1900 to 2299.")
    return table
