"""Consumer: writes what the topics hold into a log, and commits how far it has come after that.

A record that comes again, because a consumer was killed between the two, does nothing. One that cannot be used goes to
the topic `dead_letters`, with the reason. What expired before it was read stops the consumer.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence

from marketplace.kafka.client import (
    SECONDS,
    Brokers,
    Consumer,
    KafkaError,
    KafkaException,
    KafkaUnavailable,
    Message,
    OffsetExpired,
    TopicPartition,
    Topics,
)
from marketplace.kafka.dead_letters import DeadLetters, delivery_of
from marketplace.kafka.effects import Consumption
from marketplace.kafka.positions import Positions
from marketplace.kafka.records import Delivery, Topic
from marketplace.log import LogUnavailable

BATCH = 1_000  # records written at once, at most
LOOK_SECONDS = 1.0
COMMITTED, EARLIEST = "committed", "earliest"  # where reading starts; else a number, an offset
BEGINNING = -2
logger = logging.getLogger(__name__)
Place = tuple[str, int]  # topic and partition
Effect = Callable[[Sequence[Delivery]], Consumption]


class TopicConsumer:
    """Has an `effect` on each delivery of `topics`, and keeps its `positions` after that.

    `effect` raises LogUnavailable where it cannot take place now. `start`: COMMITTED goes on from the positions, at the
    beginning where there is none; EARLIEST and an offset read every partition from there, once.
    """

    def __init__(
        self,
        effect: Effect,
        brokers: Brokers,
        positions: Positions,
        *,
        topics: Sequence[Topic],
        partitions: int,
        start: str | int = COMMITTED,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._effect, self._brokers, self._positions = effect, brokers, positions
        self._start, self._clock = start, clock
        self._names = {brokers.prefix + topic: topic for topic in topics}
        self._topics = Topics(brokers, topics, partitions=partitions)
        self._dead_letters = DeadLetters(brokers, self._on_error)
        self._begun: set[Place] = set()  # partitions that were read from `start`
        self._ids: dict[str, str] = {}
        self._doubt, self._looked = True, -float("inf")
        self._consumer: Consumer | None = None
        self._assigned: set[Place] = set()  # what it reads
        self._ended: set[Place] = set()  # of these, what it has read to the end

    def step(self, wait: float) -> Consumption:
        """Take what has come within `wait` seconds, and commit it once it is in the log or a dead letter.

        Raises OffsetExpired; LogUnavailable and KafkaUnavailable, after which the next step begins with what was not
        committed.
        """
        self._look()
        try:
            return self._step(wait)
        except (LogUnavailable, KafkaUnavailable):
            self.close()
            raise

    @property
    def at_end(self) -> bool:
        """Whether every partition that it was given has been read to its end."""
        return bool(self._assigned) and self._assigned <= self._ended

    @property
    def behind(self) -> int:
        """Records of its partitions that it has not taken yet, by what brokers told it last."""
        if self._consumer is None:
            return 0
        places = [TopicPartition(*place) for place in self._assigned]
        ends = [self._consumer.get_watermark_offsets(place, cached=True)[1] for place in places]
        positions = [place.offset for place in self._consumer.position(places)] if places else []
        return sum(max(0, end - at) for end, at in zip(ends, positions, strict=True) if at >= 0)

    def close(self) -> None:
        """Leave; the next step begins with what was not committed."""
        if self._consumer is not None:
            self._consumer.close()
        self._consumer = None

    def _step(self, wait: float) -> Consumption:
        if self._consumer is None:
            self._consumer = self._open()
        first = self._consumer.poll(wait)
        messages = [] if first is None else [first, *self._consumer.consume(BATCH - 1, 0)]
        deliveries = [delivery_of(one, self._names) for one in messages if not self._is_event(one)]
        if not deliveries:
            return Consumption()
        outcome = self._effect(deliveries)
        self._dead_letters.bury(outcome.refused)
        self._commit(self._consumer, deliveries)
        return outcome

    def _open(self) -> Consumer:
        self._assigned, self._ended = set(), set()
        consumer = self._brokers.consumer(self._positions.group, self._on_error)
        self._positions.join(consumer, list(self._names), assign=self._assign, revoke=self._revoke)
        return consumer

    def _look(self) -> None:
        """Read everything again where a topic has another id than the one that was read."""
        now = self._clock()
        if not self._doubt and now - self._looked < LOOK_SECONDS:
            return
        ids = self._topics.ids()
        self._looked, self._doubt = now, False
        if ids != self._ids and self._ids:
            logger.warning("topics were made anew (%s); they are read from their beginning", sorted(ids))
            self._start, self._begun = EARLIEST, set()
            self.close()
        self._ids = ids

    def _assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Called by the client while it is polled: where to begin in each partition."""
        self._assigned |= {(one.topic, one.partition) for one in partitions}
        try:
            committed = self._positions.kept(consumer, partitions)
            for place in committed:
                place.offset = self._first(place, low=consumer.get_watermark_offsets(place, timeout=SECONDS)[0])
        except KafkaException as error:
            raise KafkaUnavailable(f"Kafka at {self._brokers}: {error.args[0].str()}") from error
        consumer.assign(committed)

    def _revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        lost = {(one.topic, one.partition) for one in partitions}
        self._assigned -= lost
        self._ended -= lost

    def _first(self, place: TopicPartition, *, low: int) -> int:
        """The offset that reading begins with; raises OffsetExpired."""
        key = (place.topic, place.partition)
        if self._start != COMMITTED and key not in self._begun:
            self._begun.add(key)
            return BEGINNING if self._start == EARLIEST else int(self._start)
        anew = place.metadata and place.metadata != self._ids.get(place.topic)
        if place.offset < 0 or anew:
            return BEGINNING
        if place.offset < low:
            raise self._expired(key, f"{low - place.offset:,} records expired before they were read")
        return place.offset

    def _is_event(self, message: Message) -> bool:
        """Whether it is no record but something that happened; raises OffsetExpired."""
        error, place = message.error(), (message.topic() or "", message.partition() or 0)
        if error is None:
            self._ended.discard(place)
            return False
        if error.code() == KafkaError._PARTITION_EOF:
            self._ended.add(place)
        elif error.code() == KafkaError._AUTO_OFFSET_RESET:
            raise self._expired(place, error.str())
        else:
            self._on_error(error)
        return True

    def _expired(self, place: Place, reason: str) -> OffsetExpired:
        return OffsetExpired(
            f"topic {place[0]}, partition {place[1]}: {reason}. Have them sent again from the logs of the machines "
            "(`value-model produce LOG --again`) and read on with `consume --from earliest`; nothing is stored twice."
        )

    def _commit(self, consumer: Consumer, deliveries: Iterable[Delivery]) -> None:
        """A group that was shared out anew meanwhile refuses: another member reads these records again."""
        ends = {(one.source, one.partition): one.offset + 1 for one in deliveries}
        offsets = [
            TopicPartition(topic, partition, offset, metadata=self._ids.get(topic, ""))
            for (topic, partition), offset in ends.items()
        ]
        try:
            self._positions.keep(consumer, offsets)
        except KafkaException as error:
            logger.warning("not committed: %s", error.args[0].str())
            self._doubt = True

    def _on_error(self, error: KafkaError) -> None:
        """Called by the client while it is polled."""
        if not self._doubt:
            logger.warning("Kafka at %s: %s", self._brokers, error.str())
        self._doubt = True
