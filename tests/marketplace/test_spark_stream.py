"""A stream of topics into a log's days that is killed again and again neither loses nor repeats a record."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from kafka_brokers import running_brokers
from made_slates import START, make_feedback, make_slate, same_rows

from marketplace.catalogue_records import CatalogueUpdate, Subject
from marketplace.kafka.client import Brokers, OffsetExpired
from marketplace.kafka.producer import LogProducer
from marketplace.kafka.ranges import OffsetRange, held_ranges
from marketplace.kafka.records import Topic
from marketplace.log import REPEATED_ORDER
from marketplace.open_log import open_log
from marketplace.parquet.days import day_files
from marketplace.sqlite_log import SqliteLog

pytest.importorskip("pyspark", reason="pyspark is not installed (pip install value-model[spark])")

from pyspark.sql.streaming.datasource import ReadAllAvailable

from marketplace.spark.topics import TopicsReader

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("java") is None, reason="java is not installed (openjdk-17-jre-headless)"),
    pytest.mark.xdist_group("spark"),
]
COMMAND = [sys.executable, "-c", "from jobs.cli import main; main()", "spark", "stream"]
STEP, KILLS, SECONDS = 200, 2, 300


def append(log, step):
    for n in range(step * STEP, (step + 1) * STEP):
        log.append(make_slate(f"r{n}", minutes=20 * n, user_id=f"u{n % 7}"))
    events = [(f"f{n}", f"r{n}", "click", "a", 20 * n, None) for n in range(step * STEP, (step + 1) * STEP)]
    log.append_feedback(make_feedback(*events))


def send(log, brokers):
    producer = LogProducer(log, brokers, partitions=3)
    while producer.step(0.02) or producer.waiting:
        pass
    producer.close()


def start(words, folder):
    with (folder / "printed.txt").open("a") as out:
        return subprocess.Popen(
            [*COMMAND, *words],
            cwd=Path(__file__).parents[2],
            env=os.environ | {"JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"},  # it starts sooner
            stdout=out,
            stderr=out,
            start_new_session=True,
        )


def rows_in_files(folder):
    return {
        table: sum(pq.read_metadata(file).num_rows for file in day_files(folder, table))
        for table in ("slates", "feedback", "quarantine")
    }


def written(folder):
    return sum(rows_in_files(folder).values())


def test_every_record_lies_in_the_days_once_though_the_stream_is_killed(tmp_path):
    log, second = SqliteLog(tmp_path / "log.sqlite"), SqliteLog(tmp_path / "second.sqlite")
    days = tmp_path / "days"
    with running_brokers(tmp_path) as (brokers, _):
        file = tmp_path / "client.properties"
        file.write_text("".join(f"{name}={value}\n" for name, value in brokers.settings.items()))
        words = [str(days), "--kafka", str(file), "--prefix", brokers.prefix, "--partitions", "3"]
        words += ["--master", "local[2]"]
        for step in range(KILLS):
            append(log, step)
            send(log, brokers)
            before, process, deadline = written(days), start([*words, "--every", "0.2"], tmp_path), time.monotonic()
            try:
                while written(days) == before:  # until files of a batch lie there
                    assert process.poll() is None, (tmp_path / "printed.txt").read_text()
                    assert time.monotonic() < deadline + SECONDS
                    time.sleep(0.01)
            finally:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        order = make_feedback(("o1", "r1", "order", "a", 30, 9.5)), make_feedback(("o2", "r1", "order", "a", 31, 9.5))
        for source, event in zip((log, second), order, strict=True):
            source.append_feedback(event, order_keys=["the order"])
        log.append_feedback(make_feedback(("bad", "nowhere", "click", "a", 1, None)), reasons=["unknown_request"])
        log.put_catalogue(Subject.ITEM, [CatalogueUpdate("a", {"price": 9.0}, 4)], known={"a"}, time=START)
        send(log, brokers)
        send(second, brokers)
        damaged = brokers.producer(print)
        damaged.produce(brokers.prefix + Topic.SLATES, b"no slate", b"u1", headers=[("version", "1"), ("id", "r-1")])
        damaged.flush()
        assert start([*words, "--once"], tmp_path).wait() == 1, (tmp_path / "printed.txt").read_text()
        letters = held_ranges(brokers, [Topic.DEAD_LETTERS], partitions=1)
    streamed = open_log(f"parquet://{days}")
    assert same_rows(streamed.slates(), log.slates())
    assert same_rows(streamed.feedback(), log.feedback())
    assert sorted(streamed.quarantined()["reason"].to_pylist()) == [REPEATED_ORDER, "unknown_request"]
    assert [one.fields for one in streamed.catalogue_after(0)[0]] == [one.fields for one in log.catalogue_after(0)[0]]
    count = STEP * KILLS
    assert rows_in_files(days) == {"slates": count, "feedback": count + 1, "quarantine": 2}
    assert sum(one.end - one.start for one in letters) == 1


def test_a_topic_made_anew_is_read_from_its_beginning_and_what_expired_is_told(monkeypatch):
    reader = TopicsReader(Brokers({"bootstrap.servers": "nowhere:1"}), partitions=1)
    held = OffsetRange(Topic.SLATES, "id", 0, 5, 9000)
    monkeypatch.setattr(reader, "_held", lambda: [held])
    start = reader.initialOffset()
    assert start == {"slates": {"id": "id", "0": 5}}
    end = reader.latestOffset(start, reader.getDefaultReadLimit())
    assert end == {"slates": {"id": "id", "0": 4005}}
    assert [one.range for one in reader.partitions(start, end)] == [replace(held, end=4005)]
    monkeypatch.setattr(reader, "_held", lambda: [replace(held, start=7)])
    with pytest.raises(OffsetExpired, match="from offset 5: 2 records expired before they were read"):
        reader.partitions(start, end)
    monkeypatch.setattr(reader, "_held", lambda: [replace(held, topic_id="anew", start=0, end=3)])
    assert reader.partitions(start, end) == []
    again = reader.latestOffset(end, ReadAllAvailable())
    assert again == {"slates": {"id": "anew", "0": 3}}
    assert [one.range.name for one in reader.partitions(end, again)] == ["anew-0-000000000000-000000000003"]
