"""What records of topics do to a log. Each is known by its id, so that one that comes again does nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby

from marketplace.catalogue_records import CatalogueRecord, CatalogueUpdate, Fate, Subject
from marketplace.kafka.records import Delivery, Topic, catalogue_of, feedback_of, slates_of
from marketplace.log import Log, Receipt
from marketplace.schema import SchemaError, moment_of

NOTHING = Receipt(0, 0)
NO_TOPIC = "it does not say which topic it was of"
Effect = Callable[[Sequence[Delivery]], Receipt]


@dataclass(frozen=True)
class Consumption:
    """What became of deliveries: those of `refused` could not be used, for the reason beside them."""

    receipt: Receipt = NOTHING
    refused: tuple[tuple[Delivery, str], ...] = field(default=())

    def __add__(self, other: Consumption) -> Consumption:
        return Consumption(self.receipt + other.receipt, self.refused + other.refused)


def apply(deliveries: Sequence[Delivery], log: Log) -> Consumption:
    """Write deliveries into `log`, by topic; raises LogUnavailable: what was written by then may come again."""
    return applied(deliveries, {topic: partial(_onto, log, effect) for topic, effect in EFFECTS.items()})


def _onto(log: Log, effect: Callable[[Sequence[Delivery], Log], Receipt], deliveries: Sequence[Delivery]) -> Receipt:
    return effect(deliveries, log)


def applied(deliveries: Sequence[Delivery], effects: Mapping[Topic, Effect]) -> Consumption:
    """What became of deliveries under the effect of their topic; an effect raises SchemaError, and did nothing then."""
    outcome = Consumption(NOTHING, tuple((one, NO_TOPIC) for one in deliveries if one.topic not in effects))
    for topic, effect in effects.items():
        outcome += _by_halves([one for one in deliveries if one.topic is topic], effect)
    return outcome


def _by_halves(deliveries: Sequence[Delivery], effect: Effect) -> Consumption:
    """All at once; where one of them cannot be used, by halves, so that the others are."""
    if not deliveries:
        return Consumption()
    try:
        return Consumption(effect(deliveries))
    except SchemaError as error:
        if len(deliveries) == 1:
            return Consumption(NOTHING, ((deliveries[0], str(error)),))
    half = len(deliveries) // 2
    return _by_halves(deliveries[:half], effect) + _by_halves(deliveries[half:], effect)


def _store_slates(deliveries: Sequence[Delivery], log: Log) -> Receipt:
    return log.append_slates(slates_of(deliveries))


def _store_feedback(deliveries: Sequence[Delivery], log: Log) -> Receipt:
    feedback, reasons, order_keys = feedback_of(deliveries)
    return log.append_feedback(feedback, reasons=reasons, order_keys=order_keys)


def _store_catalogue(deliveries: Sequence[Delivery], log: Log) -> Receipt:
    return merge_catalogue(catalogue_of(deliveries), log)


def merge_catalogue(records: Sequence[CatalogueRecord], log: Log) -> Receipt:
    """Write the fields of records of another log that are newer than those of `log`, with the times of the other."""
    receipt = NOTHING
    updates = [update for record in records for update in _updates(record)]
    for (time, subject), some in groupby(updates, lambda one: one[:2]):
        batch = [update for _, _, update in some]
        moment = moment_of(time)
        fates = log.put_catalogue(subject, batch, known={one.name for one in batch}, time=moment).fates
        accepted = fates.count(Fate.ACCEPTED)
        receipt += Receipt(accepted, len(fates) - accepted)
    return receipt


def _updates(record: CatalogueRecord) -> Iterator[tuple[int, Subject, CatalogueUpdate]]:
    """The updates that made a record: one a version and time."""
    fields = sorted(record.fields.items(), key=lambda one: (one[1].time, one[1].version))
    for (time, version), cells in groupby(fields, lambda one: (one[1].time, one[1].version)):
        values = {name: cell.value for name, cell in cells}
        yield time, record.subject, CatalogueUpdate(record.name, values, version)


EFFECTS: dict[Topic, Callable[[Sequence[Delivery], Log], Receipt]] = {
    Topic.SLATES: _store_slates,
    Topic.FEEDBACK: _store_feedback,
    Topic.ITEMS: _store_catalogue,
}
