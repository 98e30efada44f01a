"""Topics and their records: what lies in key, value and headers, by topic and version.

| topic | one record | key | value | headers |
|---|---|---|---|---|
| `slates` | a slate | user_id | its body (`marketplace.slate_body`) | version, id |
| `feedback` | an event | user_id | a JSON line of the log contract | version, id, order_key or reason |
| `items` | an item's or merchant's state | its id | JSON: subject, name, fields: [value, version, time] | version |
| `dead_letters` | a record that could not be used | its place | as it was | as they were; topic, reason |

`order_key` is the order that an event was accepted under, `reason` why a service did not believe it. A version is a
whole number; a record of a later one than this program knows is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

import pyarrow as pa

from marketplace.catalogue_records import CatalogueRecord, Subject, Written
from marketplace.codec import feedback_to_json, json_to_feedback
from marketplace.log import QUARANTINED
from marketplace.schema import FEEDBACK, SCHEMA_VERSION, SchemaError
from marketplace.slate_body import UNREADABLE, StoredSlate, unpack_all, user_of
from marketplace.slate_columns import PLAIN_SLATE


class Topic(StrEnum):
    SLATES = "slates"
    FEEDBACK = "feedback"
    ITEMS = "items"
    DEAD_LETTERS = "dead_letters"


VERSIONS = {Topic.SLATES: SCHEMA_VERSION, Topic.FEEDBACK: SCHEMA_VERSION, Topic.ITEMS: 1}
VERSION, ID, ORDER_KEY, REASON, TOPIC = "version", "id", "order_key", "reason", "topic"
Headers = list[tuple[str, str | bytes | None]]  # as the client library takes them


class KafkaRecord(NamedTuple):
    """What is sent."""

    key: bytes
    value: bytes
    headers: Headers


@dataclass(frozen=True)
class Delivery:
    """What came: a record of `topic`, and where it lay: a dead letter's `source` is another."""

    topic: Topic
    source: str  # full name of the topic that it lay in
    partition: int
    offset: int
    key: bytes
    value: bytes
    headers: Mapping[str, str]

    @property
    def place(self) -> str:
        return f"{self.source}/{self.partition}/{self.offset}"

    @property
    def is_dead_letter(self) -> bool:
        return TOPIC in self.headers


def slate_records(slates: Sequence[StoredSlate]) -> list[KafkaRecord]:
    """A body that cannot be read goes on as it is, and is refused where it arrives."""
    version = _version(Topic.SLATES)
    return [KafkaRecord(_shopper(one), one.body, [version, (ID, one.request_id)]) for one in slates]


def event_records(feedback: pa.Table, order_keys: Sequence[str | None]) -> list[KafkaRecord]:
    """FEEDBACK, with the order that each event was accepted under."""
    return _events(feedback, ORDER_KEY, order_keys)


def quarantined_records(quarantined: pa.Table) -> list[KafkaRecord]:
    """QUARANTINED."""
    reasons = quarantined[QUARANTINED.names[-1]].to_pylist() if len(quarantined) else []
    return _events(quarantined.select(FEEDBACK.names), REASON, reasons)


def catalogue_records(records: Sequence[CatalogueRecord]) -> list[KafkaRecord]:
    """Items and merchants as they stand."""
    version = _version(Topic.ITEMS)
    return [KafkaRecord(one.name.encode(), _catalogue_json(one), [version]) for one in records]


def slates_of(deliveries: Sequence[Delivery]) -> pa.Table:
    """PLAIN_SLATE of those deliveries; raises SchemaError."""
    _check(deliveries)
    try:
        batches = unpack_all([one.value for one in deliveries], [one.headers[ID] for one in deliveries])
    except (*UNREADABLE, KeyError) as error:
        raise SchemaError(f"the slate cannot be read: {error}") from error
    return pa.Table.from_batches(batches, PLAIN_SLATE)


def feedback_of(deliveries: Sequence[Delivery]) -> tuple[pa.Table, list[str | None], list[str | None]]:
    """FEEDBACK of those deliveries, the reasons why events were set apart, and their order keys; raises SchemaError."""
    _check(deliveries)
    table = json_to_feedback(b"".join(one.value for one in deliveries))
    if len(table) != len(deliveries):
        raise SchemaError(f"{len(deliveries)} events hold {len(table)} lines; a record is one line of JSON.")
    return table, *([one.headers.get(name) for one in deliveries] for name in (REASON, ORDER_KEY))


def catalogue_of(deliveries: Sequence[Delivery]) -> list[CatalogueRecord]:
    """The items and merchants of those deliveries; raises SchemaError."""
    _check(deliveries)
    try:
        return [_catalogue_record(json.loads(one.value)) for one in deliveries]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise SchemaError(f"the item cannot be read: {error!r}") from error


def dead_letter(delivery: Delivery, reason: str) -> KafkaRecord:
    """The record as it was; its key is the place that it lay in, so that a repeat is known."""
    headers = {**delivery.headers, TOPIC: delivery.topic.value, "refused": reason}
    return KafkaRecord(delivery.place.encode(), delivery.value, list(headers.items()))


def _version(topic: Topic) -> tuple[str, str]:
    return VERSION, str(VERSIONS[topic])


def _shopper(slate: StoredSlate) -> bytes:
    if isinstance(slate.user_id, str):
        return slate.user_id.encode()
    try:
        return user_of(slate.body).encode()
    except UNREADABLE:
        return slate.request_id.encode()


def _events(feedback: pa.Table, header: str, texts: Sequence[str | None]) -> list[KafkaRecord]:
    if not len(feedback):
        return []
    version, lines = _version(Topic.FEEDBACK), feedback_to_json(feedback).splitlines()
    users, names = feedback["user_id"].to_pylist(), feedback["feedback_id"].to_pylist()
    return [
        KafkaRecord(user.encode(), line + b"\n", [version, (ID, name), *([] if text is None else [(header, text)])])
        for user, name, line, text in zip(users, names, lines, texts, strict=True)
    ]


def _catalogue_json(record: CatalogueRecord) -> bytes:
    cells = {"subject": record.subject, "name": record.name, "fields": record.fields}
    return json.dumps(cells, ensure_ascii=False).encode()


def _catalogue_record(cells: dict[str, Any]) -> CatalogueRecord:
    fields = {name: Written(value, int(one), int(time)) for name, (value, one, time) in cells["fields"].items()}
    return CatalogueRecord(Subject(cells["subject"]), str(cells["name"]), -1, fields)


def _check(deliveries: Sequence[Delivery]) -> None:
    for one in deliveries:
        known, version = VERSIONS[one.topic], one.headers.get(VERSION, "none")
        if version != str(known):
            raise SchemaError(f"version {version} of {one.topic}; this program reads version {known}.")
