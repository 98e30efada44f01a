"""The log in memory: the twin of `SqliteLog` for tests, notebooks and simulations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from itertools import islice
from threading import Lock

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from marketplace.catalogue_records import CatalogueReceipt, CatalogueRecord, CatalogueUpdate, Subject, write_updates
from marketplace.keys import rows_of
from marketplace.log import (
    QUARANTINED,
    REPEATED_ORDER,
    SHOWN,
    CatalogueMoved,
    DuplicateRequest,
    Receipt,
    UnknownRequest,
    admit,
    bounds,
)
from marketplace.schema import FEEDBACK, SLATE, microseconds_of
from marketplace.slate import Slate, slates_to_table, table_to_slates

IDENTITY = ("feedback_id", "request_id", "event", "user_id", "item_id")  # of an event that is set apart


class MemoryLog:
    """Keeps everything until the process ends; safe to use from several threads."""

    def __init__(self) -> None:
        self._slates: dict[str, Slate] = {}
        self._feedback: list[pa.Table] = []
        self._known: set[str] = set()
        self._orders: dict[tuple[str, str], str] = {}
        self._quarantined: dict[tuple[str | None, ...], pa.Table] = {}
        self._catalogue: dict[tuple[Subject, str], tuple[int, CatalogueRecord]] = {}
        self._moved = self._begun = 0
        self._lock = Lock()

    def append(self, slate: Slate, *, catalogue: int | None = None) -> None:
        with self._lock:
            if catalogue is not None and catalogue < self._moved:
                raise CatalogueMoved(f"the catalogue moved on while {slate.request_id!r} was answered")
            if slate.request_id in self._slates:
                raise DuplicateRequest(slate.request_id)
            self._slates[slate.request_id] = slate

    def append_slates(self, slates: pa.Table) -> Receipt:
        with self._lock:
            before = len(self._slates)
            for slate in table_to_slates(slates):
                self._slates.setdefault(slate.request_id, slate)
            added = len(self._slates) - before
        return Receipt(added, len(slates) - added)

    def append_feedback(
        self,
        feedback: pa.Table,
        *,
        reasons: Sequence[str | None] | None = None,
        order_keys: Sequence[str | None] | None = None,
    ) -> Receipt:
        feedback = admit(feedback)
        with self._lock:
            apart = self._reasons(feedback, reasons, order_keys)
            self._set_apart(feedback, apart)
            feedback = feedback.filter(pa.array([reason is None for reason in apart], pa.bool_()))
            first = dict.fromkeys(feedback["feedback_id"].to_pylist())
            new = [name for name in first if name not in self._known]
            rows = rows_of(pa.array(new, pa.string()), feedback["feedback_id"])
            self._feedback.append(feedback.take(pa.array(rows)))
            self._known.update(new)
        quarantined = Counter(reason for reason in apart if reason is not None)
        return Receipt(len(new), len(feedback) - len(new), dict(quarantined))

    def slates_of(self, request_ids: Collection[str], *, columns: Sequence[str] = SHOWN) -> pa.Table:
        known = [self._slates[name] for name in request_ids if name in self._slates]
        return slates_to_table(known).select(list(columns))

    def feedback_of(self, feedback_ids: Collection[str]) -> pa.Table:
        table = pa.concat_tables([FEEDBACK.empty_table(), *self._feedback])
        return table.filter(pc.is_in(table["feedback_id"], pa.array(list(feedback_ids), pa.string())))

    def quarantined(self) -> pa.Table:
        return pa.concat_tables([QUARANTINED.empty_table(), *self._quarantined.values()])

    def slate(self, request_id: str) -> Slate:
        if request_id not in self._slates:
            raise UnknownRequest(request_id)
        return self._slates[request_id]

    def slates(
        self, *, since: datetime | None = None, until: datetime | None = None, columns: Sequence[str] = SLATE.names
    ) -> pa.Table:
        with self._lock:
            table = slates_to_table(list(self._slates.values()))
        return _between(table, bounds(since, until)).select(list(columns))

    def feedback(self, *, since: datetime | None = None, until: datetime | None = None) -> pa.Table:
        with self._lock:
            table = pa.concat_tables([FEEDBACK.empty_table(), *self._feedback]).combine_chunks()
        return _between(table, bounds(since, until))

    def feedback_after(
        self, mark: int, *, since: datetime | None = None, most: int | None = None
    ) -> tuple[pa.Table, int]:
        with self._lock:
            table = pa.concat_tables([FEEDBACK.empty_table(), *self._feedback]).slice(mark, most)
        return _not_before(table.combine_chunks(), since), mark + len(table)

    def shown_after(
        self,
        mark: int,
        *,
        since: datetime | None = None,
        most: int = 1000,
        skip: Collection[str] = (),
        columns: Sequence[str] = SHOWN,
    ) -> tuple[pa.Table, int]:
        with self._lock:
            batch = list(islice(self._slates.values(), mark, mark + most))
        shown = [slate for slate in batch if slate.request_id not in skip]
        return _not_before(slates_to_table(shown), since).select(list(columns)), mark + len(batch)

    def put_catalogue(
        self, subject: Subject, updates: Sequence[CatalogueUpdate], *, known: Collection[str], time: datetime
    ) -> CatalogueReceipt:
        def read(name: str) -> CatalogueRecord | None:
            arrived = self._catalogue.get((subject, name))
            return None if arrived is None else arrived[1]

        with self._lock:
            moment = microseconds_of(time)
            batch = write_updates(updates, read, subject=subject, known=known, time=moment, begun=self._begun)
            self._begun = batch.begun
            for name, record in batch.changed.items():
                self._moved += 1
                self._catalogue[subject, name] = (self._moved, record)
            return CatalogueReceipt(batch.fates, self._moved)

    def record_catalogue(self, records: Iterable[CatalogueRecord]) -> None:
        """Take over the records of another log, as they stand there."""
        with self._lock:
            for record in records:
                if self._catalogue.get((record.subject, record.name), (0, None))[1] != record:
                    self._moved += 1
                    self._catalogue[record.subject, record.name] = (self._moved, record)

    def catalogue_after(self, mark: int) -> tuple[list[CatalogueRecord], int]:
        with self._lock:
            records = [record for arrival, record in self._catalogue.values() if arrival > mark]
            return sorted(records, key=lambda record: record.first), self._moved

    def names_at(self, feedback: int, slates: int) -> tuple[str | None, str | None]:
        events = pa.concat_tables([FEEDBACK.empty_table(), *self._feedback])["feedback_id"]
        requests = list(self._slates)
        return (
            events[feedback - 1].as_py() if 0 < feedback <= len(events) else None,
            requests[slates - 1] if 0 < slates <= len(requests) else None,
        )

    def ends(self) -> tuple[int, int]:
        return sum(map(len, self._feedback)), len(self._slates)

    def probe(self) -> None:
        """Memory can always be written."""

    def _reasons(
        self, feedback: pa.Table, reasons: Sequence[str | None] | None, order_keys: Sequence[str | None] | None
    ) -> list[str | None]:
        """Those that came with the events, and REPEATED_ORDER for orders that are on record under another id."""
        apart = list(reasons or [None] * len(feedback))
        items, names = feedback["item_id"].to_pylist(), feedback["feedback_id"].to_pylist()
        for place, key in enumerate(order_keys or ()):
            if key is not None and apart[place] is None:
                first = self._orders.setdefault((key, items[place]), names[place])
                apart[place] = None if first == names[place] else REPEATED_ORDER
        return apart

    def _set_apart(self, feedback: pa.Table, apart: list[str | None]) -> None:
        for place, reason in enumerate(apart):
            if reason is not None:
                event = feedback.slice(place, 1)
                key = (reason, *(event[name][0].as_py() for name in IDENTITY))
                entry = event.append_column(QUARANTINED.field("reason"), pa.array([reason]))
                self._quarantined.setdefault(key, entry)

    def close(self) -> None:
        """Nothing to release."""


def _not_before(table: pa.Table, since: datetime | None) -> pa.Table:
    first, _ = bounds(since, None)
    return table.filter(pa.array(table["time"].cast(pa.int64()).to_numpy() >= first))


def _between(table: pa.Table, limits: tuple[int, int]) -> pa.Table:
    times = table["time"].cast(pa.int64()).to_numpy()
    order = np.argsort(times, kind="stable")
    inside = (times[order] >= limits[0]) & (times[order] < limits[1])
    return table.take(pa.array(order[inside]))
