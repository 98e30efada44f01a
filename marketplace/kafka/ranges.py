"""Ranges of offsets: for readers that keep positions of their own, what partitions hold, and what lies between two."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from marketplace.kafka.client import (
    SECONDS,
    Brokers,
    Consumer,
    KafkaError,
    KafkaException,
    KafkaUnavailable,
    OffsetExpired,
    TopicPartition,
    Topics,
)
from marketplace.kafka.dead_letters import delivery_of
from marketplace.kafka.records import Delivery, Topic

BATCH = 500  # records given at once
FOR_FILES = str.maketrans("+/", "-_")  # of base64
PATIENCE = 30.0  # seconds without a record
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class OffsetRange:
    """The records of one partition with start <= offset < end; `topic_id` is the topic's incarnation."""

    topic: Topic
    topic_id: str
    partition: int
    start: int
    end: int

    @property
    def name(self) -> str:
        """The same for the same records, and for no others; fit for a file."""
        return f"{self.topic_id.translate(FOR_FILES)}-{self.partition}-{self.start:012d}-{self.end:012d}"


def held_ranges(brokers: Brokers, topics: Sequence[Topic], *, partitions: int) -> list[OffsetRange]:
    """What each partition of the topics holds; topics that are not there are made. Raises KafkaUnavailable."""
    names = {brokers.prefix + topic: topic for topic in topics}
    present = Topics(brokers, topics, partitions=partitions)
    ids, consumer = present.ids(), brokers.consumer("ranges", on_error)
    try:
        places = present.partitions()
        lows = _reached(consumer, places)
        ends = [consumer.get_watermark_offsets(place, cached=True)[1] for place in places]
    except KafkaException as error:
        raise KafkaUnavailable(f"Kafka at {brokers}: {error.args[0].str()}") from error
    finally:
        consumer.close()
    return [
        OffsetRange(names[place.topic], ids[place.topic], place.partition, low, end)
        for place, low, end in zip(places, lows, ends, strict=True)
    ]


def _reached(consumer: Consumer, places: list[TopicPartition]) -> list[int]:
    """The first offset of each partition, once the last record of each was fetched: with it comes where it ends.

    What brokers say of the end without a fetch may be earlier.
    """
    spans = [consumer.get_watermark_offsets(place, timeout=SECONDS) for place in places]
    for place, (low, high) in zip(places, spans, strict=True):
        place.offset = max(low, high - 1)
    consumer.assign(places)
    silent, deadline = {(place.topic, place.partition) for place in places}, time.monotonic() + SECONDS
    while silent:
        message = consumer.poll(0.1)
        error = None if message is None else message.error()
        if message is not None and (error is None or error.code() == KafkaError._PARTITION_EOF):
            silent.discard((message.topic(), message.partition()))
        elif time.monotonic() > deadline:
            raise KafkaException(error or KafkaError(KafkaError._TIMED_OUT))
    return [low for low, _ in spans]


def read_range(brokers: Brokers, some: OffsetRange) -> Iterator[list[Delivery]]:
    """The records of a range, in order; raises OffsetExpired where they are gone, KafkaUnavailable."""
    source = brokers.prefix + some.topic
    consumer, at = brokers.consumer("ranges", on_error), some.start
    came = time.monotonic()
    try:
        consumer.assign([TopicPartition(source, some.partition, some.start)])
        while at < some.end:
            first = consumer.poll(1.0)
            messages = [] if first is None else [first, *consumer.consume(BATCH - 1, 0)]
            if messages:
                came = time.monotonic()
            elif time.monotonic() > came + PATIENCE:
                raise KafkaUnavailable(f"Kafka at {brokers} sends nothing of {source}/{some.partition} from {at} on.")
            deliveries = []
            for message in messages:
                error = message.error()
                if error is None:
                    at = (message.offset() or 0) + 1
                    if at <= some.end:
                        deliveries.append(delivery_of(message, {source: some.topic}))
                elif error.code() == KafkaError._PARTITION_EOF:
                    at = some.end  # a compacted topic may hold nothing of the last offsets
                elif error.code() == KafkaError._AUTO_OFFSET_RESET:
                    raise expired(some, error.str())
            if deliveries:
                yield deliveries
    finally:
        consumer.close()


def expired(some: OffsetRange, reason: str) -> OffsetExpired:
    return OffsetExpired(
        f"topic {some.topic}, partition {some.partition}, from offset {some.start}: {reason}. Have them sent again "
        "from the logs of the machines (`value-model produce LOG --again`), and begin with another checkpoint; what "
        "comes again counts once."
    )


def on_error(error: KafkaError) -> None:
    """Called by the client while it is polled; trouble that lasts is raised."""
    logger.debug("Kafka: %s", error.str())
