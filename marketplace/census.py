"""Census of a data set: what was read, when it happened, what became of every event; one line a subject."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from marketplace.attribution import AttributionCounts
from marketplace.dataset import Dataset
from marketplace.schema import EVENTS
from marketplace.slate_columns import item_offsets, to_numpy

REASON = {
    "future": "not known yet",
    "duplicate": "repeated deliveries",
    "without_request": "without a request",
    "orphan_request": "of unknown requests",
    "other_user": "by another shopper than the slate's",
    "orphan_item": "on items not in their list",
    "early": "before their slate",
    "late": "after their window",
    "bad_amount": "with an unusable amount",
    "other_currency": "in another currency",
}


def census(dataset: Dataset, counts: AttributionCounts | None, *, zone: tzinfo = UTC) -> Iterator[str]:
    """The lines; `counts` of its events, None where there are no lists; times are told in `zone`."""
    yield (
        f"{dataset.name}: {len(dataset.items):,} items of {len(dataset.merchants):,} merchants, "
        f"{len(dataset.users):,} shoppers, amounts in {dataset.currency}"
    )
    if dataset.has_impressions:
        rows = int(item_offsets(dataset.slates)[-1])
        surfaces = _counted(dataset.slates["surface"])
        span = _span(dataset.slates, zone)
        yield f"slates: {len(dataset.slates):,} requests with {rows:,} items ({surfaces}), {span}"
    if len(dataset.feedback):
        kinds = _counted(dataset.feedback["event"], order=EVENTS)
        yield f"feedback: {len(dataset.feedback):,} events ({kinds}), {_span(dataset.feedback, zone)}"
    if counts is not None and counts.events:
        lost = [f"{n:,} {REASON[reason]} ({n / counts.events:.1%})" for reason, n in counts.without_use.items()]
        if counts.unlabelled:
            lost.append(
                f"{counts.unlabelled:,} views and wish list entries, which are no labels "
                f"({counts.unlabelled / counts.events:.1%})"
            )
        rest = f"not counted: {', '.join(lost)}" if lost else "none is lost"
        yield f"joined to what was shown: {counts.used:,} events ({counts.used / counts.events:.1%}); {rest}"


def _counted(column: pa.ChunkedArray, *, order: tuple[str, ...] = ()) -> str:
    counts = {row["values"]: row["counts"] for row in pc.value_counts(column.cast(pa.string())).to_pylist()}
    names = [name for name in order if name in counts] or sorted(counts, key=lambda name: -counts[name])
    return ", ".join(f"{counts[name]:,} {name}" for name in names)


def _span(table: pa.Table, zone: tzinfo) -> str:
    times = to_numpy(table["time"].cast(pa.int64()))
    first, last = (datetime.fromtimestamp(int(t) / 1e6, UTC).astimezone(zone) for t in (np.min(times), np.max(times)))
    return f"{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} {getattr(zone, 'key', zone)}"
