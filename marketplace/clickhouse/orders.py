"""Orders: which event an order's item was accepted under, so that it counts once."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from marketplace.clickhouse.connection import ClickhouseClient
from marketplace.log import REPEATED_ORDER

COLUMNS = ("order_key", "item_id", "feedback_id")
NAMED = f"SELECT {', '.join(COLUMNS)} FROM orders FINAL WHERE order_key IN {{keys:Array(String)}}"


def reasons_with_repeats(
    connection: ClickhouseClient,
    feedback: pa.Table,
    reasons: Sequence[str | None],
    order_keys: Sequence[str | None],
) -> list[str | None]:
    """The `reasons`, and REPEATED_ORDER for items of orders that are on record under another feedback id.

    What is new is put on record before its events are: they come again where they were not stored.
    """
    apart, keys = list(reasons), [key for key in order_keys if key is not None]
    if not keys:
        return apart
    with connection.held():
        rows = connection.rows(NAMED, {"keys": keys})
        before = {(key, item): event for key, item, event in rows}
        items, events = feedback["item_id"].to_pylist(), feedback["feedback_id"].to_pylist()
        new: dict[tuple[str, str], str] = {}
        for place, key in enumerate(order_keys):
            if key is not None and apart[place] is None:
                order = key, items[place]
                first = before.get(order) or new.setdefault(order, events[place])
                apart[place] = None if first == events[place] else REPEATED_ORDER
        if new:
            cells = zip(*((*order, event) for order, event in new.items()), strict=True)
            connection.insert("orders", pa.table(dict(zip(COLUMNS, cells, strict=True))))
    return apart
