"""Orders: which event an order's item was accepted under, so that it counts once, whichever machines it came by."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Sequence
from contextlib import closing
from pathlib import Path

import pyarrow as pa

from marketplace.log import QUARANTINED, REPEATED_ORDER
from marketplace.parquet.days import write_days

FILE = "orders.sqlite"
CREATE = """CREATE TABLE IF NOT EXISTS orders (
    order_key TEXT NOT NULL, item_id TEXT NOT NULL, feedback_id TEXT NOT NULL,
    PRIMARY KEY (order_key, item_id)) WITHOUT ROWID"""
FIRST = "SELECT feedback_id FROM orders WHERE order_key = ? AND item_id = ?"


def repeated_orders(folder: Path, orders: Iterable[tuple[str, str, str]]) -> frozenset[str]:
    """Of (order_key, item_id, feedback_id): the ids of events whose order's item is on record under another id.

    What is new is put on record before its events are: those that come again are believed again.
    """
    rows = list(orders)
    if not rows:
        return frozenset()
    folder.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(folder / FILE)) as connection:
        with connection:
            connection.execute(CREATE)
            connection.executemany("INSERT OR IGNORE INTO orders VALUES (?, ?, ?)", rows)
        first = [connection.execute(FIRST, one[:2]).fetchone()[0] for one in rows]
    return frozenset(one[2] for one, name in zip(rows, first, strict=True) if one[2] != name)


def orders_of(events: pa.Table, order_keys: Sequence[str | None]) -> list[tuple[str, str, str]]:
    """(order_key, item_id, feedback_id) of the events (FEEDBACK) that were accepted as an order's."""
    names = zip(order_keys, events["item_id"].to_pylist(), events["feedback_id"].to_pylist(), strict=True)
    return [(key, item, name) for key, item, name in names if key is not None]


def write_events(
    events: pa.Table, reasons: Sequence[str | None], folder: Path, *, part: str, repeats: Collection[str]
) -> int:
    """Write events (FEEDBACK) to their days, those with a reason and `repeats` of orders apart; how many these are."""
    names = events["feedback_id"].to_pylist()
    repeated = (REPEATED_ORDER if name in repeats else None for name in names)
    all_reasons = pa.array([one or other for one, other in zip(reasons, repeated, strict=True)], pa.string())
    set_apart = events.append_column(QUARANTINED.field("reason"), all_reasons).filter(all_reasons.is_valid())
    write_days(events.filter(all_reasons.is_null()), folder, "feedback", part=part)
    write_days(set_apart, folder, "quarantine", part=part)
    return len(set_apart)
