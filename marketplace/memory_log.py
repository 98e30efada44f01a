"""The log in memory: the twin of `SqliteLog` for tests, notebooks and simulations."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from itertools import islice
from threading import Lock

import numpy as np
import pyarrow as pa

from marketplace.keys import rows_of
from marketplace.log import SHOWN, DuplicateRequest, Receipt, UnknownRequest, admit, bounds
from marketplace.schema import FEEDBACK
from marketplace.slate import Slate, slates_to_table


class MemoryLog:
    """Keeps everything until the process ends; safe to use from several threads."""

    def __init__(self) -> None:
        self._slates: dict[str, Slate] = {}
        self._feedback: list[pa.Table] = []
        self._known: set[str] = set()
        self._lock = Lock()

    def append(self, slate: Slate) -> None:
        with self._lock:
            if slate.request_id in self._slates:
                raise DuplicateRequest(slate.request_id)
            self._slates[slate.request_id] = slate

    def append_feedback(self, feedback: pa.Table) -> Receipt:
        feedback = admit(feedback)
        with self._lock:
            first = dict.fromkeys(feedback["feedback_id"].to_pylist())
            new = [name for name in first if name not in self._known]
            rows = rows_of(pa.array(new, pa.string()), feedback["feedback_id"])
            self._feedback.append(feedback.take(pa.array(rows)))
            self._known.update(new)
        return Receipt(accepted=len(new), duplicates=len(feedback) - len(new))

    def slate(self, request_id: str) -> Slate:
        if request_id not in self._slates:
            raise UnknownRequest(request_id)
        return self._slates[request_id]

    def slates(self, *, since: datetime | None = None, until: datetime | None = None) -> pa.Table:
        with self._lock:
            table = slates_to_table(list(self._slates.values()))
        return _between(table, bounds(since, until))

    def feedback(self, *, since: datetime | None = None, until: datetime | None = None) -> pa.Table:
        with self._lock:
            table = pa.concat_tables([FEEDBACK.empty_table(), *self._feedback]).combine_chunks()
        return _between(table, bounds(since, until))

    def feedback_after(self, mark: int, *, since: datetime | None = None) -> tuple[pa.Table, int]:
        with self._lock:
            table = pa.concat_tables([FEEDBACK.empty_table(), *self._feedback]).slice(mark)
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

    def names_at(self, feedback: int, slates: int) -> tuple[str | None, str | None]:
        events = pa.concat_tables([FEEDBACK.empty_table(), *self._feedback])["feedback_id"]
        requests = list(self._slates)
        return (
            events[feedback - 1].as_py() if 0 < feedback <= len(events) else None,
            requests[slates - 1] if 0 < slates <= len(requests) else None,
        )

    def probe(self) -> None:
        """Memory can always be written."""

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
