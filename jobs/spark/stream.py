"""Append what topics hold to a log's days, on Spark: batch by batch, until a signal."""

from __future__ import annotations

import signal
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from marketplace.kafka.client import Brokers
from marketplace.spark.session import spark_session
from marketplace.spark.stream import stream_into, trouble_of

RETRY_SECONDS = 1.0  # after brokers that did not answer
CHECKPOINT = ".stream"
AWAY, GONE = "KafkaUnavailable: ", "OffsetExpired: "


def stream(
    folder: Path, brokers: Brokers, *, checkpoint: Path | None, partitions: int, every: float | None, master: str | None
) -> int:
    """Append to the days in `folder` a batch `every` so many seconds, None = what is there now; the exit code.

    1 = some records could not be used, and are dead letters; 2 = some expired before they were read.
    """
    counts: Counter[str] = Counter()
    what = f"Kafka at {brokers} into {folder}"

    def report(batch: dict[str, int]) -> None:
        counts.update(batch)
        figures = ", ".join(f"{count:,} {name}" for name, count in batch.items() if count)
        _say(f"{what}: {figures or 'nothing'}")

    with spark_session(master, name="stream") as spark:
        stopped = _signalled()
        while True:
            where = checkpoint or folder / CHECKPOINT
            query = stream_into(
                spark, folder, brokers, checkpoint=where, partitions=partitions, seconds=every, report=report
            )
            trouble = trouble_of(query, stopped)
            if trouble is None:
                return int(counts["refused"] > 0)
            if AWAY not in trouble:
                break
            _say(f"{_line(trouble, AWAY)} Trying again.")
            time.sleep(RETRY_SECONDS)
    if GONE not in trouble:
        raise ValueError(trouble)
    _say(_line(trouble, GONE))
    return 2


def _signalled() -> list[int]:
    """The signals that have come to end the process."""
    stopped: list[int] = []
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda number, frame: stopped.append(number))
    return stopped


def _line(trouble: str, kind: str) -> str:
    return trouble.partition(kind)[2].splitlines()[0]


def _say(line: str) -> None:
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {line}", flush=True)
