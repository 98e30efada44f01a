"""What an export's events lack beside a log's: an id, without which repeats are guessed, and a request to answer."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from marketplace.finding import Finding, Severity, TableOrigin, Where
from marketplace.repeats import likely_repeated
from marketplace.unnamed_requests import with_requests


def once(feedback: pa.Table, origin: TableOrigin) -> tuple[pa.Table, TableOrigin, list[Finding]]:
    """Events without an id of their own (FEEDBACK), likely repeats left out, with their rows in the file."""
    repeats = likely_repeated(feedback)
    if not repeats.any():
        return feedback, origin, []
    keep = np.flatnonzero(~repeats)
    reason = (
        f"{int(repeats.sum())} of {len(repeats)} events ({repeats.mean():.1%}) agree with an earlier one in shopper, "
        "item, event, request, amount and second; they are taken for repeated deliveries and counted once."
    )
    where = Where(origin.file, row=origin.row(int(np.argmax(repeats))))
    finding = Finding(
        "repeats", where, reason, "Map feedback_id: with it repeats are known.", Severity.WARNING, float(repeats.mean())
    )
    rows = np.arange(len(feedback)) + 1 if origin.rows is None else origin.rows
    return feedback.take(pa.array(keep)), TableOrigin(origin.file, rows=rows[keep]), [finding]


def with_answers(slates: pa.Table, feedback: pa.Table) -> tuple[pa.Table, list[str]]:
    """FEEDBACK whose events answer lists, by inference where none names its request, and a note of it."""
    events = len(feedback)
    if len(slates) == 0 or feedback["request_id"].null_count < events:
        return feedback, []
    feedback, joined = with_requests(slates, feedback)
    note = (
        f"No event names its request: {joined:,} of {events:,} were joined to their shopper's latest list that showed "
        f"the item within the event's window, {events - joined:,} answer no list."
    )
    return feedback, [note]
