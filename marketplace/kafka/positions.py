"""Positions: which partitions a consumer reads, and where it keeps how far it has come.

A position's `metadata` is the id of the topic that it was read in.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Protocol

from marketplace.kafka.client import SECONDS, Consumer, TopicPartition, Topics
from marketplace.sqlite_log import SqliteLog

Assign = Callable[[Consumer, list[TopicPartition]], None]


class Positions(Protocol):
    """Raises KafkaException where the brokers do not answer."""

    @property
    def group(self) -> str:
        """The name that brokers know the consumers by that share positions."""

    def join(self, consumer: Consumer, topics: Sequence[str], *, assign: Assign, revoke: Assign) -> None:
        """Have `assign` called with the partitions to read, and `revoke` with those to read no more."""

    def kept(self, consumer: Consumer, partitions: list[TopicPartition]) -> list[TopicPartition]:
        """The offset to go on from in each; below 0 = none is kept."""

    def keep(self, consumer: Consumer, positions: list[TopicPartition]) -> None:
        """Keep the offsets to go on from."""


class SharedPositions:
    """Partitions are shared out among the members of `group`, and brokers keep the positions."""

    def __init__(self, group: str) -> None:
        self.group = group

    def join(self, consumer: Consumer, topics: Sequence[str], *, assign: Assign, revoke: Assign) -> None:
        consumer.subscribe(list(topics), on_assign=assign, on_revoke=revoke)

    def kept(self, consumer: Consumer, partitions: list[TopicPartition]) -> list[TopicPartition]:
        return consumer.committed(partitions, timeout=SECONDS)

    def keep(self, consumer: Consumer, positions: list[TopicPartition]) -> None:
        consumer.commit(offsets=positions, asynchronous=False)


class PositionsInLog:
    """Every partition is read, beside whoever else does; the positions are notes of the log that is written to."""

    group = "alone"

    def __init__(self, log: SqliteLog, topics: Topics) -> None:
        self._log, self._topics = log, topics

    def join(self, consumer: Consumer, topics: Sequence[str], *, assign: Assign, revoke: Assign) -> None:
        assign(consumer, self._topics.partitions())

    def kept(self, consumer: Consumer, partitions: list[TopicPartition]) -> list[TopicPartition]:
        return [self._kept(one) for one in partitions]

    def keep(self, consumer: Consumer, positions: list[TopicPartition]) -> None:
        for one in positions:
            self._log.keep_note(_note(one), json.dumps([one.offset, one.metadata]))

    def _kept(self, place: TopicPartition) -> TopicPartition:
        note = self._log.note(_note(place))
        offset, topic_id = (-1, "") if note is None else json.loads(note)
        return TopicPartition(place.topic, place.partition, offset, metadata=topic_id)


def _note(place: TopicPartition) -> str:
    return f"kafka {place.topic} {place.partition}: read"
