"""Records of topics gathered into tables, for whoever writes many of them at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from marketplace.catalogue_records import CatalogueRecord
from marketplace.kafka.effects import applied
from marketplace.kafka.records import Delivery, Topic, catalogue_of, feedback_of, slates_of
from marketplace.log import Receipt
from marketplace.schema import FEEDBACK, SLATE


@dataclass(frozen=True)
class GatheredRecords:
    """SLATE, FEEDBACK with the reasons against events and their order keys, and the catalogue, in order; and what was
    `refused`, with the reasons."""

    slates: pa.Table
    events: pa.Table
    reasons: Sequence[str | None]
    order_keys: Sequence[str | None]
    catalogue: Sequence[CatalogueRecord]
    refused: Sequence[tuple[Delivery, str]]


@dataclass
class _Parts:
    slates: list[pa.Table] = field(default_factory=lambda: [SLATE.empty_table()])
    events: list[pa.Table] = field(default_factory=lambda: [FEEDBACK.empty_table()])
    reasons: list[str | None] = field(default_factory=list)
    order_keys: list[str | None] = field(default_factory=list)
    catalogue: list[CatalogueRecord] = field(default_factory=list)

    def take_slates(self, some: Sequence[Delivery]) -> Receipt:
        self.slates.append(slates_of(some).combine_chunks().cast(SLATE))
        return Receipt(len(some), 0)

    def take_events(self, some: Sequence[Delivery]) -> Receipt:
        table, reasons, order_keys = feedback_of(some)
        self.events.append(table)
        self.reasons += reasons
        self.order_keys += order_keys
        return Receipt(len(some), 0)

    def take_catalogue(self, some: Sequence[Delivery]) -> Receipt:
        self.catalogue += catalogue_of(some)
        return Receipt(len(some), 0)


def gather(deliveries: Sequence[Delivery]) -> GatheredRecords:
    parts = _Parts()
    effects = {Topic.SLATES: parts.take_slates, Topic.FEEDBACK: parts.take_events, Topic.ITEMS: parts.take_catalogue}
    refused = applied(deliveries, effects).refused
    slates, events = (pa.concat_tables(tables).combine_chunks() for tables in (parts.slates, parts.events))
    return GatheredRecords(slates, events, parts.reasons, parts.order_keys, parts.catalogue, refused)
