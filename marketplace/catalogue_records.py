"""Catalogue record: what a shop wrote of one item or merchant since the data that a bundle was made from.

Every field is kept with the version that its source gave it. An update writes the fields that it names where its
version is the greater, so that updates may come late, in any order and any number of times: the record is the same.
Values are JSON; times are UTC microseconds, money is in the market's currency.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

ITEM_COLUMNS = (  # of `marketplace.schema.ITEMS`
    *("merchant_id", "category", "name", "price", "in_stock", "available_from", "margin"),
    *("attributes", "numeric", "text"),
)
ITEM_STATES = ("hidden", "blocked", "expires_at", "removed")  # what records alone know of an item
MERCHANT_COLUMNS = ("country", "plan", "commission_rate", "quality", "return_rate", "refusal_rate", "joined")
NEW_ITEM = ("merchant_id", "category", "price")  # without which an item cannot begin


class Subject(StrEnum):
    ITEM = "item"
    MERCHANT = "merchant"


class Fate(StrEnum):
    """What became of an update."""

    ACCEPTED = "accepted"
    STALE = "stale"  # every field that it names is known in this version or a later one
    UNKNOWN = "unknown"  # of an item that nobody knows, and not enough to begin one


class Written(NamedTuple):
    """A field's value, its source's version of it, and when it was recorded (UTC microseconds)."""

    value: Any
    version: int
    time: int


@dataclass(frozen=True)
class CatalogueUpdate:
    """`values` by field; `version` None = later than everything known of these fields."""

    name: str
    values: Mapping[str, Any]
    version: int | None = None


@dataclass(frozen=True)
class CatalogueRecord:
    """`name`: the item's or merchant's id; records are numbered by `first` in the order in which they began."""

    subject: Subject
    name: str
    first: int
    fields: Mapping[str, Written]

    @property
    def complete(self) -> bool:
        """Whether an item can begin with it."""
        return all(self.value(name) is not None for name in NEW_ITEM)

    def value(self, field: str, default: Any = None) -> Any:
        """What the field holds; `default` where no update named it."""
        written = self.fields.get(field)
        return default if written is None or written.value is None else written.value


@dataclass(frozen=True)
class CatalogueReceipt:
    """The fate of each update of a batch, in its order, and how many records have been written so far."""

    fates: tuple[Fate, ...]
    mark: int


@dataclass(frozen=True)
class WrittenBatch:
    """The fate of each update, the records that changed, by id in the order of their last change, and those begun."""

    fates: tuple[Fate, ...]
    changed: Mapping[str, CatalogueRecord]
    begun: int


def written(fields: Mapping[str, Written], update: CatalogueUpdate, *, time: int) -> dict[str, Written] | None:
    """The fields after an update that arrived at `time`; None where it is stale."""
    latest = max((field.version for field in fields.values()), default=-1)
    version = latest + 1 if update.version is None else update.version
    newer = {
        name: Written(value, version, time)
        for name, value in update.values.items()
        if name not in fields or version > fields[name].version
    }
    return {**fields, **newer} if newer else None


def beginning(fields: Mapping[str, Written], update: CatalogueUpdate, *, time: int) -> CatalogueUpdate | None:
    """The update with which an item begins that nobody knows but for `fields`; None where it names too little.

    An item without a launch is launched when it is recorded.
    """
    values = {**{name: cell.value for name, cell in fields.items()}, **update.values}
    if any(values.get(name) is None for name in NEW_ITEM):
        return None
    launch = values.get("available_from") or time
    return CatalogueUpdate(update.name, {**update.values, "available_from": launch}, update.version)


Read = Callable[[str], CatalogueRecord | None]


def write_updates(
    updates: Sequence[CatalogueUpdate],
    read: Read,
    *,
    subject: Subject,
    known: Collection[str],
    time: int,
    begun: int,
) -> WrittenBatch:
    """A batch of updates that arrived at `time`, over the records that `read` gives, of which `begun` have a number.

    `known` holds ids that need no record to be updated. A record takes its number when it can stand for an item.
    """
    changed: dict[str, CatalogueRecord] = {}
    fates = []
    for update in updates:
        record = changed.get(update.name) or read(update.name)
        before = {} if record is None else record.fields
        stands = subject is Subject.MERCHANT or update.name in known or (record is not None and record.complete)
        one = update if stands else beginning(before, update, time=time)
        fields = None if one is None else written(before, one, time=time)
        if fields is None:
            fates.append(Fate.UNKNOWN if one is None else Fate.STALE)
            continue
        first, begun = (record.first, begun) if record is not None and stands else (begun, begun + 1)
        changed.pop(update.name, None)
        changed[update.name] = CatalogueRecord(subject, update.name, first, fields)
        fates.append(Fate.ACCEPTED)
    return WrittenBatch(tuple(fates), changed, begun)


def merged(one: CatalogueRecord, other: CatalogueRecord) -> CatalogueRecord:
    """The record of one item or merchant that two logs hold, whichever was read first."""
    newer = {
        name: cell
        for name, cell in other.fields.items()
        if name not in one.fields or cell.version > one.fields[name].version
    }
    return CatalogueRecord(one.subject, one.name, min(one.first, other.first), {**one.fields, **newer})


def text_of(record: CatalogueRecord) -> str:
    """Its fields as a log's table keeps them."""
    return json.dumps(record.fields, ensure_ascii=False)


def record_of(subject: str, name: str, first: int, text: str) -> CatalogueRecord:
    """The record of a row that a log's table keeps."""
    fields = {field: Written(*cells) for field, cells in json.loads(text).items()}
    return CatalogueRecord(Subject(subject), name, first, fields)
