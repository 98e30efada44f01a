"""Dead letters: what the client brought that cannot be used lies in a topic of its own, as it was, with the reason."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from marketplace.kafka.client import SECONDS, Brokers, KafkaUnavailable, Message, OnError, Producer, Topics
from marketplace.kafka.records import TOPIC, Delivery, Topic, dead_letter

logger = logging.getLogger(__name__)


class DeadLetters:
    """The topic of dead letters, made when the first is buried."""

    def __init__(self, brokers: Brokers, on_error: OnError) -> None:
        self._brokers, self._on_error = brokers, on_error
        self._topic = Topics(brokers, [Topic.DEAD_LETTERS], partitions=1)
        self._producer: Producer | None = None

    def bury(self, refused: Iterable[tuple[Delivery, str]]) -> None:
        """Send deliveries with the reasons against them, and wait until they are there; raises KafkaUnavailable."""
        letters = []
        for delivery, reason in refused:
            logger.error("%s is a dead letter: %s", delivery.place, reason)
            if not delivery.is_dead_letter:
                letters.append(dead_letter(delivery, reason))
        if not letters:
            return
        if self._producer is None:
            self._topic.ids()
            self._producer = self._brokers.producer(self._on_error)
        name = self._brokers.prefix + Topic.DEAD_LETTERS
        for letter in letters:
            self._producer.produce(name, letter.value, letter.key, headers=letter.headers)
        if self._producer.flush(SECONDS):
            raise KafkaUnavailable(f"Kafka at {self._brokers} does not take dead letters; nothing is committed.")


def delivery_of(message: Message, names: Mapping[str, Topic]) -> Delivery:
    """A message as it came; `names` says which topic each full name is of. A dead letter is of the topic it lay in."""
    source, partition, offset = message.topic() or "", message.partition() or 0, message.offset() or 0
    headers = {name: _text(cell) for name, cell in dict(message.headers() or ()).items()}
    topic = names[source]
    if topic is Topic.DEAD_LETTERS and headers.get(TOPIC) in list(Topic):
        topic = Topic(headers[TOPIC])
    return Delivery(topic, source, partition, offset, message.key() or b"", message.value() or b"", headers)


def _text(cell: str | bytes | None) -> str:
    return cell.decode(errors="replace") if isinstance(cell, bytes) else cell or ""
