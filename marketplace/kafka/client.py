"""Kafka's client library, named in this file alone: how brokers are reached, and the topics that they hold.

A topic's id is its incarnation: one that was deleted, or lost with its broker, and made again has another id, and
whatever was known of offsets in it means nothing any more.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

try:
    from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicCollection, TopicPartition
    from confluent_kafka.admin import AdminClient, NewTopic
except ImportError as error:
    raise ImportError("Kafka needs the package confluent-kafka: pip install 'value-model[live]'") from error

__all__ = ["Consumer", "KafkaError", "KafkaException", "Message", "Producer", "TopicPartition"]

SECONDS = 5.0  # that brokers may take over a question about topics
QUIET = {"log_level": 0, "reconnect.backoff.ms": 50, "reconnect.backoff.max.ms": 1_000}  # errors come by callback
PRODUCER = {
    "compression.type": "lz4",
    "linger.ms": 20,
    "message.max.bytes": 16 << 20,  # brokers have their own limit
}
CONSUMER = {"fetch.wait.max.ms": 100}
# What no setting of the operator's changes.
SENDS_ONCE = {
    "enable.idempotence": True,  # with acks=all: the broker drops what the client sends again
    "message.timeout.ms": 0,  # what was sent stays sent until it is acknowledged, however long brokers are away
}
READS_ALL = {
    "enable.auto.commit": False,
    "auto.offset.reset": "error",  # an offset that is gone is a loss, and must be loud
    "enable.partition.eof": True,
}
logger = logging.getLogger(__name__)
OnError = Callable[[KafkaError], None]


class KafkaUnavailable(ValueError):
    """The brokers do not answer, or refuse: says which, and why."""


class OffsetExpired(ValueError):
    """Records between the offset read last and the first that the topic still holds are gone: says how many."""


@dataclass(frozen=True)
class Brokers:
    """`settings` of the client library; `prefix` is put before every topic's name and group."""

    settings: Mapping[str, Any]
    prefix: str = ""

    @classmethod
    def of(cls, place: str, *, prefix: str = "") -> Brokers:
        """HOST:PORT, several with commas, or a file of settings, NAME=VALUE a line; raises ValueError."""
        if not Path(place).is_file():
            if not all(address.rpartition(":")[2].isdigit() for address in place.split(",")):
                raise ValueError(f"{place!r} is neither HOST:PORT[,HOST:PORT...] nor a file of NAME=VALUE lines.")
            return cls({"bootstrap.servers": place}, prefix)
        lines = [line.strip() for line in Path(place).read_text("utf-8").splitlines()]
        lines = [line for line in lines if line and not line.startswith("#")]
        cells = [line.partition("=") for line in lines]
        if wrong := [line for line, (_, sign, _) in zip(lines, cells, strict=True) if not sign]:
            raise ValueError(f"{place}: {wrong[0]!r} is not NAME=VALUE.")
        settings = {name.strip(): value.strip() for name, _, value in cells}
        if "bootstrap.servers" not in settings:
            raise ValueError(f"{place} names no brokers: add a line bootstrap.servers=HOST:PORT.")
        return cls(settings, prefix)

    def __str__(self) -> str:
        return str(self.settings["bootstrap.servers"])

    def producer(self, on_error: OnError) -> Producer:
        return Producer({**QUIET, **PRODUCER, **self.settings, **SENDS_ONCE, "error_cb": on_error})

    def consumer(self, group: str, on_error: OnError) -> Consumer:
        names = {"group.id": self.prefix + group, "error_cb": on_error}
        return Consumer({**QUIET, **CONSUMER, **self.settings, **READS_ALL, **names})


class Topics:
    """The topics `names` (without prefix), made where they are not there, with `partitions` each."""

    def __init__(self, brokers: Brokers, names: Sequence[str], *, partitions: int) -> None:
        self._brokers, self._partitions = brokers, partitions
        self._names = [brokers.prefix + name for name in names]
        self._admin = AdminClient({**QUIET, **brokers.settings})

    def ids(self) -> dict[str, str]:
        """The id of each by its full name; raises KafkaUnavailable."""
        ids = self._present()
        missing = [NewTopic(name, self._partitions) for name in self._names if name not in ids]
        if not missing:
            return ids
        for name, made in self._admin.create_topics(missing, operation_timeout=SECONDS).items():
            try:
                made.result(timeout=SECONDS)
                logger.info("topic %s was made, with %d partitions", name, self._partitions)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise self._unavailable(error) from error
        return self._present()

    def partitions(self) -> list[TopicPartition]:
        """Every partition of the topics; raises KafkaUnavailable."""
        self.ids()
        try:
            topics = self._admin.list_topics(timeout=SECONDS).topics
        except KafkaException as error:
            raise self._unavailable(error) from error
        return [TopicPartition(name, number) for name in self._names for number in topics[name].partitions]

    def _present(self) -> dict[str, str]:
        ids = {}
        for name, answer in self._admin.describe_topics(TopicCollection(self._names), request_timeout=SECONDS).items():
            try:
                ids[name] = str(answer.result(timeout=2 * SECONDS).topic_id)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise self._unavailable(error) from error
        return ids

    def _unavailable(self, error: KafkaException) -> KafkaUnavailable:
        return KafkaUnavailable(f"Kafka at {self._brokers} does not answer: {error.args[0].str()}")
