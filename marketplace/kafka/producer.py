"""Producer: sends what a machine's SQLite log holds to the topics, each record after it is on record there.

The log is the spool: whoever appends to it waits for nothing else. How far it was sent is a mark for each topic, kept
in the log once brokers have acknowledged everything up to it, under the topic's id: a topic that was made anew has no
mark yet, and gets everything on record again. What is sent twice has no effect twice (`marketplace.kafka.effects`).
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from marketplace.catalogue_records import CatalogueRecord
from marketplace.kafka.client import Brokers, KafkaError, KafkaException, Message, Topics
from marketplace.kafka.records import (
    KafkaRecord,
    Topic,
    catalogue_records,
    event_records,
    quarantined_records,
    slate_records,
)
from marketplace.sqlite_log import SqliteLog

BATCH = 100  # records read at once
MOST_BYTES = 4 << 20  # sent and not acknowledged; then reading waits: the client spins over what it may not send yet
LOOK_SECONDS, KEEP_SECONDS = 1.0, 0.2  # how often topics are looked at, and marks kept
logger = logging.getLogger(__name__)
IsKnown = Callable[[CatalogueRecord], bool]


class RecordRefused(ValueError):
    """The brokers will never take a record, such as one larger than they allow: says which, and what to do."""


@dataclass(eq=False)
class SentBatch:
    """Records up to `mark`, of which `left`, with `bytes` of values, are not acknowledged."""

    mark: int
    left: int
    bytes: int
    error: KafkaError | None = None

    def acknowledge(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self.left -= 1
            self.bytes -= len(message)
        else:
            self.error = error


@dataclass(eq=False)
class Stream:
    """One kind of row on its way: `read` gives the records after a mark, and the next mark."""

    name: str
    topic: Topic
    read: Callable[[int], tuple[list[KafkaRecord], int]]
    mark: int = 0  # up to which records were handed to the client
    flying: deque[SentBatch] = field(default_factory=deque)

    def acknowledged(self) -> int | None:
        """The mark up to which everything is acknowledged, where it moved on; raises the error of a record."""
        mark = None
        while self.flying and not self.flying[0].left:
            mark = self.flying.popleft().mark
        for batch in self.flying:
            if batch.error is not None:
                raise KafkaException(batch.error)
        return mark


class LogProducer:
    """Sends `log` to the topics, `again` = all of it, whatever was sent before.

    `is_known` tells records of the catalogue that the topic holds as they are, so that they need not be sent.
    """

    def __init__(
        self,
        log: SqliteLog,
        brokers: Brokers,
        *,
        partitions: int,
        again: bool = False,
        is_known: IsKnown = lambda record: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log, self._brokers, self._again, self._is_known, self._clock = log, brokers, again, is_known, clock
        self._streams = [
            Stream("slates", Topic.SLATES, self._slates),
            Stream("feedback", Topic.FEEDBACK, self._feedback),
            Stream("quarantined feedback", Topic.FEEDBACK, self._quarantined),
            Stream("catalogue", Topic.ITEMS, self._catalogue),
        ]
        topics = list(dict.fromkeys(stream.topic for stream in self._streams))
        self._topics = Topics(brokers, topics, partitions=partitions)
        self._ids: dict[str, str] = {}
        self._doubt: str | None = "no topic was looked at yet"  # why what is known of the topics may be wrong
        self._looked = self._kept = -float("inf")
        self._gave_up = False
        self._producer = brokers.producer(self._on_error)

    def step(self, wait: float) -> int:
        """Send what is new, and keep the marks of what was acknowledged; the number of records sent.

        Waits up to `wait` seconds where nothing is. Raises KafkaUnavailable where the brokers do not answer: what was
        sent is still on its way; RecordRefused.
        """
        self._look()
        sent = sum(self._send(stream) for stream in self._streams)
        self._producer.poll(0 if sent else wait)
        self._keep()
        return sent

    @property
    def waiting(self) -> int:
        """Records that were sent and are not acknowledged."""
        return sum(batch.left for stream in self._streams for batch in stream.flying)

    def close(self, *, patience: float = 5.0) -> None:
        """Wait for what is on its way, up to `patience` seconds, and keep the marks; the rest is sent next time."""
        self._producer.flush(patience)
        if self._ids:
            self._keep(at_once=True)

    def _look(self) -> None:
        """Begin again where a topic has another id than the one that was written to, or the client gave up."""
        now = self._clock()
        if self._doubt is None and now - self._looked < LOOK_SECONDS:
            return
        ids = self._topics.ids()
        self._looked = now
        if ids != self._ids or self._gave_up:
            if self._ids:
                reason = "the client gave up" if self._gave_up else "topics were made anew"
                logger.warning("%s; what was not acknowledged by these topics is sent again", reason)
                self._producer.purge()
                self._producer = self._brokers.producer(self._on_error)
            self._ids, self._gave_up = ids, False
            for stream in self._streams:
                kept = None if self._again else self._log.note(self._note(stream))
                stream.mark = int(kept or 0)
                stream.flying.clear()
            self._again = False
        self._doubt = None

    def _send(self, stream: Stream) -> int:
        if sum(batch.bytes for batch in stream.flying) > MOST_BYTES:
            return 0
        records, mark = stream.read(stream.mark)
        if mark == stream.mark:
            return 0
        batch = SentBatch(mark, len(records), sum(len(one.value) for one in records))
        stream.flying.append(batch)
        stream.mark = mark
        topic = self._brokers.prefix + stream.topic
        for record in records:
            self._produce(topic, record, batch)
        return len(records)

    def _produce(self, topic: str, record: KafkaRecord, batch: SentBatch) -> None:
        while True:
            try:
                self._producer.produce(
                    topic, record.value, record.key, headers=record.headers, on_delivery=batch.acknowledge
                )
                return
            except BufferError:
                self._producer.poll(0.1)
            except KafkaException as error:
                raise _refusal(error, topic, record) from error

    def _keep(self, *, at_once: bool = False) -> None:
        now = self._clock()
        if not at_once and now - self._kept < KEEP_SECONDS:
            return
        self._kept = now
        for stream in self._streams:
            try:
                mark = stream.acknowledged()
            except KafkaException as error:
                raise _refusal(error, self._brokers.prefix + stream.topic, None) from error
            if mark is not None:
                self._log.keep_note(self._note(stream), str(mark))

    def _note(self, stream: Stream) -> str:
        topic = self._brokers.prefix + stream.topic
        return f"kafka {topic} {self._ids[topic]}: {stream.name} sent"

    def _on_error(self, error: KafkaError) -> None:
        """Called by the client while it is polled."""
        if self._doubt is None:
            logger.warning("Kafka at %s: %s", self._brokers, error.str())
        self._doubt = error.str()
        self._gave_up |= error.fatal()

    def _slates(self, mark: int) -> tuple[list[KafkaRecord], int]:
        bodies, mark = self._log.bodies_after(mark, most=BATCH)
        return slate_records(bodies), mark

    def _feedback(self, mark: int) -> tuple[list[KafkaRecord], int]:
        feedback, order_keys, mark = self._log.events_after(mark, most=BATCH)
        return event_records(feedback, order_keys), mark

    def _quarantined(self, mark: int) -> tuple[list[KafkaRecord], int]:
        quarantined, mark = self._log.quarantined_after(mark, most=BATCH)
        return quarantined_records(quarantined), mark

    def _catalogue(self, mark: int) -> tuple[list[KafkaRecord], int]:
        records, mark = self._log.catalogue_after(mark)
        return catalogue_records([one for one in records if not self._is_known(one)]), mark


def _refusal(error: KafkaException, topic: str, record: KafkaRecord | None) -> RecordRefused:
    which = "" if record is None else f" ({len(record.value):,} bytes, key {record.key.decode()!r})"
    advice = "Allow larger ones on the topic (max.message.bytes) and the brokers; they are in the log until then."
    return RecordRefused(f"topic {topic} does not take a record{which}: {error.args[0].str()}. {advice}")
