"""The log contract as a page, written from the schemas so that it cannot drift: docs/log_contract.md.

`python -m marketplace.contract > docs/log_contract.md`
"""

from __future__ import annotations

from dataclasses import fields
from datetime import timedelta
from typing import Any

import pyarrow as pa

from marketplace.attribution import AttributionWindows
from marketplace.schema import FEEDBACK, ITEM_FIELDS, ITEMS, MERCHANTS, REQUEST_FIELDS, SCHEMA_VERSION, USERS

HEAD = f"""# The log contract

Version {SCHEMA_VERSION}. Written by `python -m marketplace.contract` from `marketplace/schema.py`; do not edit.

One slate per request, kept with everything needed to question it; feedback refers to it by `request_id`. Training rows
come only from joining the two. A slate is one row: request columns are scalars, columns over its n items are lists
of length n in one common order. Identifiers are text, times UTC microseconds, money in the row's `currency`,
probabilities in [0, 1]. A missing number is NaN; "optional" columns may be null.

In JSON (one object a line, with `schema_version`) times are ISO 8601 with microseconds and offset, and a number that
JSON cannot write is the text "NaN", "Infinity" or "-Infinity". In Parquet the version lies in the file's metadata.
`SqliteLog` keeps slates as Arrow record batches and feedback in plain columns that SQL can read. An acknowledged append
survives `kill -9` of every process; surviving a power cut as well is `survive_power_loss=True` (slower). Events that
the service did not believe lie in the table `quarantine` with their reason, and rows that cannot be read are named in
`damaged`: neither is part of what a reader gets.
"""

SECTIONS = (
    ("Slate: the request", "One value a slate.", REQUEST_FIELDS),
    ("Slate: its items", "One list of length n a slate; `predictions` holds such a list per head.", ITEM_FIELDS),
    ("Feedback", "One row an event. A refund is a `return` with a positive amount.", tuple(FEEDBACK)),
    ("Items", "The catalogue.", tuple(ITEMS)),
    ("Merchants", "Who sells.", tuple(MERCHANTS)),
    ("Users", "Who shops.", tuple(USERS)),
)

JOIN = """## From feedback to labels

`marketplace.attribution.attribute` joins the two. An event counts for the item of the slate that it names when
slate time <= event time < slate time + window:

| event | window |
|---|---|
{windows}

An order or a cart implies a click, and each of the three that the item was seen, since ctcvr = ctr x cvr knows no
order without a click. `order_value` is the sum of the orders' amounts (the price shown where an order names none),
before returns; `returned` and `refunded` say what came back or was refused at the door, `kept_order` and `net_value`
what remained. `mature` says that every window but the returns' has
closed, `return_mature` that theirs has too. With `as_of` only what happened strictly before it is known. Repeated
deliveries (the earliest counts), orphans, events by another shopper in another visit, early, late and unusable events
are left out and counted, each once. An order of amount 0 is an order. A `view` (the item's page was opened, from
wherever) and a `wishlist` entry are kept and label nothing: neither is an impression or a click.

Where no event of an export names its request, each is joined to its shopper's latest list that showed the item within
the event's window, and how many were is said; beside events that name theirs, one that does not answers no list.
"""


def contract_page() -> str:
    """The page, in Markdown."""
    tables = [f"## {title}\n\n{text}\n\n{_table(rows)}\n" for title, text, rows in SECTIONS]
    windows = "\n".join(
        f"| {f.name.replace('returned', 'return')} | {_span(f.default)} |" for f in fields(AttributionWindows)
    )
    return "\n".join([HEAD, *tables, JOIN.format(windows=windows)])


def _span(length: Any) -> str:
    hours = length // timedelta(hours=1)
    return f"{hours // 24} days" if hours > 24 and hours % 24 == 0 else f"{hours} h"


def _table(rows: tuple[pa.Field, ...]) -> str:
    lines = [f"| `{row.name}` | {_kind(row)} | {_meaning(row)} |" for row in rows]
    return "\n".join(["| field | type | meaning |", "|---|---|---|", *lines])


def _meaning(row: pa.Field) -> str:
    return row.metadata[b"meaning"].decode().replace("|", "\\|")  # a bar would end the cell


def _kind(row: pa.Field) -> str:
    return type_name(row.type) + (", optional" if row.nullable else "")


def type_name(kind: pa.DataType) -> str:
    """An Arrow type in a word or two."""
    if pa.types.is_dictionary(kind):
        return type_name(kind.value_type)
    if pa.types.is_map(kind):
        return f"map of text to {type_name(kind.item_type)}"
    if pa.types.is_list(kind):
        return f"list of {type_name(kind.value_type)}"
    return {"string": "text", "double": "float64", "float": "float32", "timestamp[us, tz=UTC]": "time"}.get(
        str(kind), str(kind)
    )


if __name__ == "__main__":
    print(contract_page(), end="")
