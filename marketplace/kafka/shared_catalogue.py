"""Shared catalogue: items and merchants that other machines were sent, merged into a machine's log.

Fields are merged by the source's versions, so that all logs come to hold the same, whatever the order. A record that a
log holds as the topic has it is not sent there again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence

from marketplace.catalogue_records import CatalogueRecord, Subject, Written
from marketplace.kafka.effects import Consumption, apply
from marketplace.kafka.records import Delivery, catalogue_of
from marketplace.log import Log
from marketplace.schema import SchemaError

MOST = 10_000  # records remembered, of those that came last


class SharedCatalogue:
    """What the topic `items` brings to `log`."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._came: OrderedDict[tuple[Subject, str], Mapping[str, Written]] = OrderedDict()

    def merge(self, deliveries: Sequence[Delivery]) -> Consumption:
        """Write what is newer than in the log; raises LogUnavailable."""
        for one in deliveries:
            self._remember(one)
        return apply(deliveries, self._log)

    def holds(self, record: CatalogueRecord) -> bool:
        """Whether the topic is known to hold the record as it is."""
        return self._came.get((record.subject, record.name)) == record.fields

    def _remember(self, delivery: Delivery) -> None:
        try:
            (record,) = catalogue_of([delivery])
        except SchemaError:
            return  # `apply` refuses it
        key = record.subject, record.name
        self._came[key] = record.fields
        self._came.move_to_end(key)
        while len(self._came) > MOST:
            self._came.popitem(last=False)
