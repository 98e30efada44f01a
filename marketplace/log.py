"""The log: the one record that everything is learned from.

Conventions: `since` is included, `until` is not, None = no bound; both bounds and the order of what is read go by
the row's own `time`, ties in order of arrival.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from marketplace.catalogue_records import CatalogueReceipt, CatalogueRecord, CatalogueUpdate, Subject
from marketplace.schema import EVENTS, FEEDBACK, SLATE, SchemaError, conform, microseconds_of
from marketplace.slate import Slate

SHOWN = ("time", "user_id", "session_id", "item_id", "position")  # the columns of a slate that say what was shown


QUARANTINED = FEEDBACK.append(pa.field("reason", pa.string(), nullable=False))
REPEATED_ORDER = "repeated_order"


class DuplicateRequest(ValueError):
    """A slate of this request_id is in the log already; that one stays and the new one is not stored."""

    def __init__(self, request_id: str) -> None:
        super().__init__(
            f"request_id {request_id!r} is in the log already; the slate logged first is kept. "
            "Give every request an id of its own (a UUID), also when the client tries again."
        )
        self.request_id = request_id


class LogUnavailable(ValueError):
    """The log cannot be read or written now: says why, and what to do. Nothing of the call was stored."""


class CatalogueMoved(RuntimeError):
    """The catalogue was updated while a slate was made; the slate is not stored."""


class UnknownRequest(LookupError):
    """No slate of this request_id is in the log."""

    def __init__(self, request_id: str) -> None:
        super().__init__(f"no slate of the request_id {request_id!r} is in the log")


@dataclass(frozen=True)
class Receipt:
    """What became of a batch of feedback; receipts add up with `+`."""

    accepted: int
    duplicates: int  # their feedback_id was known, or came twice in the batch; the first is kept
    quarantined: Mapping[str, int] = field(default_factory=dict)  # by reason: kept apart from what is learned from

    def __add__(self, other: Receipt) -> Receipt:
        quarantined = Counter(self.quarantined) + Counter(other.quarantined)
        return Receipt(self.accepted + other.accepted, self.duplicates + other.duplicates, dict(quarantined))


class Log(Protocol):
    """Keeps slates, feedback and catalogue records; what was written is there when the call returns.

    Slates and feedback are never changed; a catalogue record holds the newest state of its item or merchant. Every
    method raises LogUnavailable where the log cannot be read or written.
    """

    def append(self, slate: Slate, *, catalogue: int | None = None) -> None:
        """Store one slate; raises DuplicateRequest.

        `catalogue` is the mark up to which its maker knows the catalogue's records, None = whatever they say: raises
        CatalogueMoved, and stores nothing, where one was written since.
        """

    def append_slates(self, slates: pa.Table) -> Receipt:
        """Store slates (SLATE) of another log, all or nothing; known ones are counted, not stored twice."""

    def append_feedback(
        self,
        feedback: pa.Table,
        *,
        reasons: Sequence[str | None] | None = None,
        order_keys: Sequence[str | None] | None = None,
    ) -> Receipt:
        """Store a batch (FEEDBACK), all or nothing; known events are counted, not stored twice. Raises SchemaError.

        Events with one of the `reasons` are set apart. One of the `order_keys` (None = no order) is accepted once an
        item; further events of it are set apart as REPEATED_ORDER.
        """

    def slate(self, request_id: str) -> Slate:
        """The slate of one request; raises UnknownRequest."""

    def slates_of(self, request_ids: Collection[str], *, columns: Sequence[str] = SHOWN) -> pa.Table:
        """The slates of those request ids that are on record: their `columns` of SLATE alone."""

    def feedback_of(self, feedback_ids: Collection[str]) -> pa.Table:
        """The feedback (FEEDBACK) of those ids that is on record."""

    def quarantined(self) -> pa.Table:
        """What was set apart (QUARANTINED: FEEDBACK and `reason`), in order of arrival, each event once a reason."""

    def slates(
        self, *, since: datetime | None = None, until: datetime | None = None, columns: Sequence[str] = SLATE.names
    ) -> pa.Table:
        """Slates by time: their `columns` of SLATE alone."""

    def feedback(self, *, since: datetime | None = None, until: datetime | None = None) -> pa.Table:
        """Feedback (FEEDBACK) by time."""

    def feedback_after(
        self, mark: int, *, since: datetime | None = None, most: int | None = None
    ) -> tuple[pa.Table, int]:
        """Feedback (FEEDBACK) that arrived after `mark` (0 = all), in order of arrival, and the mark to go on from.

        At most `most` events at a time, None = all. For a reader that follows the log: whatever the events' own times,
        each is read exactly once.
        """

    def shown_after(
        self,
        mark: int,
        *,
        since: datetime | None = None,
        most: int = 1000,
        skip: Collection[str] = (),
        columns: Sequence[str] = SHOWN,
    ) -> tuple[pa.Table, int]:
        """The same for slates, `most` at a time: their `columns` alone.

        Slates whose request ids are in `skip` are passed over: a writer that remembers its own need not read them.
        """

    def put_catalogue(
        self, subject: Subject, updates: Sequence[CatalogueUpdate], *, known: Collection[str], time: datetime
    ) -> CatalogueReceipt:
        """Write a batch of updates that arrived at `time`, all or nothing, in order; repeats change nothing.

        `known`: ids that the serving bundle holds; others begin a record where the update names enough for it.
        """

    def catalogue_after(self, mark: int) -> tuple[list[CatalogueRecord], int]:
        """Records that were written after `mark` (0 = all), in the order in which they began, and the next mark."""

    def names_at(self, feedback: int, slates: int) -> tuple[str | None, str | None]:
        """The feedback_id and the request_id of the rows at two marks; None where no row lies there."""

    def ends(self) -> tuple[int, int]:
        """The marks of the newest feedback and of the newest slate; 0 = none."""

    def probe(self) -> None:
        """Nothing where a row can be written now; raises LogUnavailable."""

    def close(self) -> None:
        """Release what the log holds; appended rows stay where the log is durable."""


FIRST, LAST = -(2**63), 2**63 - 1


def bounds(since: datetime | None, until: datetime | None) -> tuple[int, int]:
    """The half-open range of UTC microseconds that `since` and `until` mean; raises SchemaError without a time zone."""
    return (FIRST if since is None else microseconds_of(since), LAST if until is None else microseconds_of(until))


def without_requests(slates: pa.Table, skip: Collection[str]) -> pa.Table:
    """The slates whose `request_id` is none of `skip`."""
    if not skip:
        return slates
    return slates.filter(pc.invert(pc.is_in(slates["request_id"], pa.array(list(skip), pa.string()))))


def admit(feedback: pa.Table) -> pa.Table:
    """`feedback` in FEEDBACK, fit to be logged; raises SchemaError naming the row of an unknown event or odd amount."""
    table = conform(feedback, FEEDBACK, where="feedback")
    refused = {
        f"event is none of {EVENTS}": pc.invert(pc.is_in(table["event"].cast(pa.string()), pa.array(EVENTS))),
        "amount is not a finite number": pc.invert(pc.is_finite(table["amount"])),
        "amount is below 0; a refund is a `return` with a positive amount": pc.less(table["amount"], 0.0),
    }
    for reason, rows in refused.items():
        row = rows.index(True).as_py()
        if row >= 0:
            raise SchemaError(f"feedback row {row}: {reason}; received {table.slice(row, 1).to_pylist()[0]}")
    amount = pc.add(table["amount"], 0.0)  # -0.0 is 0, and databases keep no sign of it
    return table.set_column(table.schema.get_field_index("amount"), FEEDBACK.field("amount"), amount)
