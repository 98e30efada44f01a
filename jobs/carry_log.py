"""Carry a log over Kafka: from a machine's SQLite file to the topics, and from the topics into any log."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from features.store import StoreUnavailable
from marketplace.kafka.client import Brokers, KafkaUnavailable, Topics
from marketplace.kafka.consumer import COMMITTED, EARLIEST, TopicConsumer
from marketplace.kafka.effects import Consumption, apply
from marketplace.kafka.positions import PositionsInLog, SharedPositions
from marketplace.kafka.producer import LogProducer
from marketplace.kafka.records import Topic
from marketplace.kafka.shared_catalogue import SharedCatalogue
from marketplace.log import Log, LogUnavailable
from marketplace.log_place import Place, shown_place
from marketplace.open_log import open_log
from marketplace.schema import SchemaError
from marketplace.sqlite_log import SqliteLog

WAIT = 0.05  # seconds that a step waits for something to do
REPORT_SECONDS = 60.0
RETRY_SECONDS = 1.0  # after a log or brokers that could not be used


def produce(log: Place, brokers: Brokers, *, partitions: int, again: bool, once: bool) -> int:
    """Send what `log` holds, and merge the catalogue of other machines into it.

    `again` = everything, whatever was sent and read before; `once` = what is there now.
    """
    spool = SqliteLog(log)
    shared = SharedCatalogue(spool)
    items = Topics(brokers, [Topic.ITEMS], partitions=partitions)
    follower = TopicConsumer(
        shared.merge,
        brokers,
        PositionsInLog(spool, items),
        topics=[Topic.ITEMS],
        partitions=partitions,
        start=EARLIEST if again else COMMITTED,
    )
    producer = LogProducer(spool, brokers, partitions=partitions, again=again, is_known=shared.holds)
    counts: Counter[str] = Counter()

    def step() -> bool:
        counts.update(_counted(follower.step(WAIT), "of the catalogue "))
        sent = producer.step(0)
        counts["sent"] += sent
        return bool(sent or producer.waiting or not follower.at_end)

    try:
        what = f"{shown_place(log)} to Kafka at {brokers}"
        _go_on(step, lambda: _report(what, counts, producer.waiting, "on their way"), once=once)
    finally:
        producer.close()
        follower.close()
        spool.close()
    return 0


def consume(
    into: Place,
    brokers: Brokers,
    *,
    topics: Sequence[Topic],
    group: str,
    start: str | int,
    partitions: int,
    once: bool,
    taught: tuple[Path, str] | None = None,
) -> int:
    """Write what `topics` hold into a log; the exit code, 1 = some could not be used, and are dead letters.

    `taught`: a run, and the Redis whose features of it learn what is written.
    """
    log = open_log(into)
    teach = _teacher(log, into, *taught) if taught else lambda: None
    counts: Counter[str] = Counter()
    consumer = TopicConsumer(
        lambda deliveries: apply(deliveries, log),
        brokers,
        SharedPositions(group),
        topics=topics,
        start=start,
        partitions=partitions,
    )

    def step() -> bool:
        counts.update(_counted(consumer.step(WAIT), ""))
        teach()
        return not consumer.at_end

    try:
        what = f"Kafka at {brokers} into {shown_place(into)}"
        _go_on(step, lambda: _report(what, counts, consumer.behind, "to come"), once=once)
    finally:
        consumer.close()
        log.close()
    return int(counts["refused"] > 0)


def _teacher(log: Log, place: Place, run: Path, features: str) -> Callable[[], None]:
    """What teaches the features in a Redis what the log holds; raises SchemaError for a log that nobody serves from."""
    if not isinstance(log, SqliteLog):
        raise SchemaError(f"{shown_place(place)} cannot teach --features: give --into an SQLite file.")
    from jobs.gather import Gatherer

    return Gatherer(run, log, features).follow


def _go_on(step: Callable[[], bool], report: Callable[[], None], *, once: bool) -> None:
    """Step until a signal, or with `once` until nothing is left to do; troubles that may pass are waited out."""
    stopped = False

    def stop(number: int, frame: object) -> None:
        nonlocal stopped
        stopped = True

    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, stop)
    reported, last = time.monotonic(), ""
    more = True
    while not stopped and (more or not once):
        try:
            more = step()
        except (LogUnavailable, KafkaUnavailable, StoreUnavailable) as error:
            _say(f"{error} Trying again.", unless=last)
            last = str(error)
            time.sleep(RETRY_SECONDS)
        if time.monotonic() - reported > REPORT_SECONDS:
            reported, last = time.monotonic(), ""
            report()
    report()


def _counted(outcome: Consumption, of: str) -> dict[str, int]:
    receipt = outcome.receipt
    fates = {"stored": receipt.accepted, "known": receipt.duplicates, "refused": len(outcome.refused)}
    return {of + fate: count for fate, count in fates.items()} | {
        f"{of}set apart as {reason}": count for reason, count in receipt.quarantined.items()
    }


def _report(what: str, counts: Counter[str], left: int, where: str) -> None:
    figures = ", ".join(f"{count:,} {fate}" for fate, count in counts.items() if count)
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {what}: {figures or 'nothing yet'}; {left:,} {where}", flush=True)


def _say(line: str, *, unless: str) -> None:
    if not unless or unless not in line:
        print(line, flush=True)
