"""What an export's events are not, and a log's are: each delivered once, with a request to answer and a sane amount."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa

from marketplace.finding import Finding, Severity, TableOrigin, Where, count_of_rows
from marketplace.repeats import likely_repeated
from marketplace.unnamed_requests import with_requests

FEW = 0.01  # share of the events: a few odd ones are left out, many are a wrong column


def once(feedback: pa.Table, origin: TableOrigin) -> tuple[pa.Table, TableOrigin, list[Finding]]:
    """Events without an id of their own (FEEDBACK), likely repeats left out, with their rows in the file."""
    repeats = likely_repeated(feedback)
    if not repeats.any():
        return feedback, origin, []
    reason = (
        f"{int(repeats.sum())} of {len(repeats)} events ({repeats.mean():.1%}) agree with an earlier one in shopper, "
        "item, event, request, amount and second; they are taken for repeated deliveries and counted once."
    )
    where = Where(origin.file, row=origin.row(int(np.argmax(repeats))))
    finding = Finding(
        "repeats", where, reason, "Map feedback_id: with it repeats are known.", Severity.WARNING, float(repeats.mean())
    )
    return *_without(repeats, feedback, origin), [finding]


def payable(feedback: pa.Table, origin: TableOrigin) -> tuple[pa.Table, TableOrigin, list[Finding]]:
    """Events (FEEDBACK) without the few whose amount is none, with their rows in the file; of many, all are kept.

    What is kept is for the checks of the data set to refuse.
    """
    amount = feedback["amount"].fill_null(0.0).to_numpy()
    bad = ~(np.isfinite(amount) & (amount >= 0))
    if not 0 < bad.mean() < FEW:
        return feedback, origin, []
    first = int(np.argmax(bad))
    money = f"{amount[first]:g} {feedback['currency'][first].as_py() or ''}".strip()
    reason = f"{money} is no amount{count_of_rows(int(bad.sum()), of=len(bad))}; these events are left out."
    fix = "Amounts are 0 or more; write a refund as a `return` event with a positive amount."
    where = Where(origin.file, part=origin.part("amount"), row=origin.row(first))
    finding = Finding("values", where, reason, fix, Severity.WARNING, float(bad.mean()))
    return *_without(bad, feedback, origin), [finding]


def _without(events: np.ndarray, feedback: pa.Table, origin: TableOrigin) -> tuple[pa.Table, TableOrigin]:
    keep = np.flatnonzero(~events)
    rows = np.arange(len(feedback)) + 1 if origin.rows is None else origin.rows
    return feedback.take(pa.array(keep)), replace(origin, rows=rows[keep])


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
