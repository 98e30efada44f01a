"""Does a log come over Kafka whole, how fast, how soon, and at what price to who ranks?

    make bench ONLY=kafka      RUN=runs/latest chooses the run whose bundle is served, KILLS=5 fewer kills

A broker in memory on this machine (VALUE_MODEL_KAFKA is not used: it is killed here, and loses all that it held).

- Throughput: `LogProducer` over a log of slates, until all are acknowledged and the marks are kept, beside
  confluent_kafka's `produce` of one constant payload of the same size, without key, order or guarantees; both from
  the acknowledgement of a first record on, by turns.
- The rank path: requests answered by an engine with `value-model produce` beside it, running and stopped by turns.
- Delay: from the append of a slate to its effect in a consumer, at 100 slates a second.
- Two machines: from the answer to `PUT /v1/items` on one to the first answer by it of the other.
- Kills: `kill -9` of consumer, producer and broker by turns under load; then the consumer's log, in
  ClickHouse (chDB), is compared with the service's, record by record.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import requests
from confluent_kafka import KafkaException, Producer, TopicPartition

from benchmarks.log import make_slates
from benchmarks.record import Measure, record, skip
from benchmarks.small_broker import SmallBroker
from jobs.serve import running
from marketplace.kafka.client import Brokers, Topics
from marketplace.kafka.consumer import Effect, TopicConsumer
from marketplace.kafka.effects import Consumption, apply
from marketplace.kafka.positions import PositionsInLog
from marketplace.kafka.producer import LogProducer
from marketplace.kafka.records import Delivery, Topic
from marketplace.log import Log
from marketplace.log_place import Place
from marketplace.open_log import open_log
from marketplace.schema import FEEDBACK, conform
from marketplace.slate import Slate, slates_to_batch, slates_to_table
from marketplace.slate_body import pack
from marketplace.sqlite_log import SqliteLog
from serving.bundle import build_engine, load_bundle
from serving.engine import RankingEngine
from serving.request import Request

SEED, PARTITIONS = 0, 4
SLATES, REPEATS = 12_000, 7  # of the throughput
BLOCKS, BLOCK = 40, 20  # of the rank path: requests of one turn
RATE, SECONDS = 100, 20  # of the delay: slates a second
UPDATES = 50  # of the catalogue
KILLS = int(os.environ.get("KILLS", "20"))  # of consumer and producer each; a quarter as many of the broker
LOAD = 100  # slates and events a second meanwhile
PATIENCE = 60.0  # seconds that are waited for anything
PROGRAM = [sys.executable, "-c", "from jobs.cli import main; main()"]


def main() -> None:
    folder = Path(os.environ.get("RUN", "runs/demo-simulated"))
    if not (folder / "bundle").exists():
        skip("kafka", f"{folder} has no bundle; make it with `make demo`, or name another run in RUN")
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        measures = [
            *throughput(home),
            *rank_path(folder, home),
            *delay(home),
            *two_machines(folder, home),
            *kills(home),
        ]
    record("kafka", measures, data=f"{folder.name}; made slates of 50 items; a broker in memory", seed=SEED)


@contextmanager
def broker(home: Path) -> Iterator[SmallBroker]:
    small = SmallBroker(home / "broker.log")
    small.start()
    try:
        yield small
    finally:
        small.kill()


def throughput(home: Path) -> list[Measure]:
    made = make_slates(200)
    slates = [replace(made[n % len(made)], request_id=f"{n}") for n in range(SLATES)]
    table = pa.concat_tables([slates_to_table(slates[start : start + 200]) for start in range(0, SLATES, 200)])
    size = round(float(np.mean([len(pack(slates_to_batch([slate]))) for slate in made])))
    raw, sent, stored = [], [], []  # seconds, and CPU seconds of this process
    for _ in range(REPEATS):
        with broker(home) as small:
            raw.append(raw_seconds(small.address, os.urandom(size)))
        with broker(home) as small:
            sent.append(sent_seconds(home / uuid.uuid4().hex, small.address, made[0], table))
            stored.append(stored_seconds(home / uuid.uuid4().hex, small.address))
    shares = np.array(raw) / np.array(sent)
    (seconds, cpu), (raw_wall, raw_cpu) = np.median(sent, axis=0), np.median(raw, axis=0)
    return [
        Measure(
            "producer with guarantees over raw produce of one payload", float(np.median(shares[:, 0])), "", ">= 0.7"
        ),
        Measure("bytes a slate", float(size), "bytes"),
        Measure("slates produced, median", SLATES / seconds, "slates/s"),
        Measure("the same in bytes", SLATES / seconds * size / 1e6, "MB/s"),
        Measure("CPU a slate, the log read and produced", cpu / SLATES * 1e6, "us"),
        Measure("slates consumed into an SQLite log, median", SLATES / float(np.median(stored)), "slates/s"),
        Measure("raw produce, median", SLATES / raw_wall, "payloads/s"),
        Measure("CPU a payload, raw produce", raw_cpu / SLATES * 1e6, "us"),
    ]


def raw_seconds(address: str, payload: bytes) -> tuple[float, float]:
    Topics(Brokers.of(address), ["raw"], partitions=PARTITIONS).ids()
    producer = Producer({"bootstrap.servers": address, "log_level": 0})
    producer.produce("raw", payload)
    assert producer.flush(PATIENCE) == 0
    start, begun = time.perf_counter(), time.process_time()
    for _ in range(SLATES):
        producer.produce("raw", payload)
    assert producer.flush(PATIENCE) == 0
    return time.perf_counter() - start, time.process_time() - begun


def sent_seconds(path: Path, address: str, first: Slate, slates: pa.Table) -> tuple[float, float]:
    log, brokers = SqliteLog(path), Brokers.of(address)
    producer = LogProducer(log, brokers, partitions=PARTITIONS)
    log.append(replace(first, request_id="first"))
    send_all(producer)
    log.append_slates(slates)
    start, begun = time.perf_counter(), time.process_time()
    send_all(producer)
    producer.close()
    seconds = time.perf_counter() - start, time.process_time() - begun
    log.close()
    path.unlink()
    return seconds


def send_all(producer: LogProducer) -> None:
    while producer.step(0.01) or producer.waiting:
        pass


def stored_seconds(path: Path, address: str) -> float:
    target = SqliteLog(path)
    consumer = lone_consumer(target, address, lambda deliveries: apply(deliveries, target))
    start = time.perf_counter()
    while not consumer.at_end:
        consumer.step(0.01)
    seconds = time.perf_counter() - start
    consumer.close()
    target.close()
    path.unlink()
    return seconds


def lone_consumer(target: SqliteLog, address: str, effect: Effect) -> TopicConsumer:
    """Reads every partition of `slates`, in no group."""
    brokers = Brokers.of(address)
    positions = PositionsInLog(target, Topics(brokers, [Topic.SLATES], partitions=PARTITIONS))
    return TopicConsumer(effect, brokers, positions, topics=[Topic.SLATES], partitions=PARTITIONS)


def rank_path(folder: Path, home: Path) -> list[Measure]:
    """Blocks of requests, with the producer running and stopped (SIGSTOP) by turns: the median of the paired ratios."""
    place = home / "ranked.sqlite"
    bundle = load_bundle((folder / "bundle").resolve())
    engine, users = build_engine(bundle, log=SqliteLog(place)), bundle.catalogue.users["user_id"].to_pylist()
    ask(engine, users, 5 * BLOCK)
    with broker(home) as small, process("produce", place, small.address, home) as producer:
        ratios, milliseconds = [], []
        for _ in range(BLOCKS):
            producer.send_signal(signal.SIGSTOP)
            without = ask(engine, users, BLOCK)
            producer.send_signal(signal.SIGCONT)
            ratios.append(ask(engine, users, BLOCK) / without)
            milliseconds.append(without / BLOCK * 1e3)
    slowed = 100 * (np.array(ratios) - 1)
    draws = np.median(np.random.default_rng(SEED).choice(slowed, (2_000, BLOCKS)), axis=1)
    low, high = np.quantile(draws, [0.025, 0.975]).tolist()
    return [
        Measure("a request beside a producer, slower by, median", float(np.median(slowed)), "%", "<= 5", (low, high)),
        Measure("a request without one, median", float(np.median(milliseconds)), "ms"),
    ]


def ask(engine: RankingEngine, users: Sequence[str], many: int) -> float:
    """Seconds of that many requests."""
    start = time.perf_counter()
    for user in np.random.default_rng(SEED).choice(users, many).tolist():
        engine.rank(Request(request_id=uuid.uuid4().hex, time=datetime.now(UTC), surface="home", user_id=user, k=20))
    return time.perf_counter() - start


@contextmanager
def process(command: str, log: Path, address: str, home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`value-model produce` or `consume` on a log, killed when the block ends."""
    child = start(command, log, address, home)
    try:
        yield child
    finally:
        child.kill()
        child.wait()


def start(command: str, log: Place, address: str, home: Path, *options: str) -> subprocess.Popen[bytes]:
    settings = home / "client.properties"
    settings.write_text(f"bootstrap.servers={address}\nsession.timeout.ms=1000\nheartbeat.interval.ms=200\n")
    place = ["--kafka", str(settings), "--partitions", str(PARTITIONS)]
    where = [str(log)] if command == "produce" else ["--into", str(log)]
    with (home / f"{command}.txt").open("a") as out:
        return subprocess.Popen([*PROGRAM, command, *where, *place, *options], stdout=out, stderr=out)


def delay(home: Path) -> list[Measure]:
    """A consumer in a thread of this process; every slate is appended at its own time."""
    log, target = SqliteLog(home / "events.sqlite"), SqliteLog(home / "arrived.sqlite")
    appended: dict[str, float] = {}
    arrived: dict[str, float] = {}
    slates = make_slates(RATE * SECONDS)
    with broker(home) as small, process("produce", home / "events.sqlite", small.address, home):
        done = threading.Event()

        def effect(deliveries: Sequence[Delivery]) -> Consumption:
            result = apply(deliveries, target)
            arrived.update(dict.fromkeys((one.headers["id"] for one in deliveries), time.perf_counter()))
            return result

        consumer = lone_consumer(target, small.address, effect)
        thread = threading.Thread(target=lambda: [consumer.step(0.02) for _ in iter(done.is_set, True)])
        thread.start()
        log.append(replace(slates[0], request_id="first"))
        wait_until(lambda: "first" in arrived)
        begun = time.perf_counter()
        for place, slate in enumerate(slates):
            time.sleep(max(0.0, begun + place / RATE - time.perf_counter()))
            log.append(slate)
            appended[slate.request_id] = time.perf_counter()
        wait_until(lambda: len(arrived) > len(slates))
        done.set()
        thread.join()
        consumer.close()
    milliseconds = np.array([1e3 * (arrived[name] - at) for name, at in appended.items()])
    return [
        Measure(
            f"append to its effect in a consumer, {RATE}/s, {name}", float(np.percentile(milliseconds, q)), "ms", bar
        )
        for name, q, bar in (("p50", 50, None), ("p99", 99, "<= 1000"))
    ]


def two_machines(folder: Path, home: Path) -> list[Measure]:
    """Prices are put to one service; the other, on a log of its own, is asked until it shows them."""
    seconds, with_kafka = [], ExitStack()
    with with_kafka:
        small = with_kafka.enter_context(broker(home))
        addresses = []
        for name in ("one", "two"):
            copy = home / name
            shutil.copytree((folder / "bundle").resolve(), copy / "bundle")
            addresses.append(with_kafka.enter_context(running(copy, log=copy / "log.sqlite")))
            with_kafka.enter_context(process("produce", copy / "log.sqlite", small.address, home))
        items = load_bundle(home / "one" / "bundle").catalogue.items
        names = items.filter(items["in_stock"])["item_id"].slice(0, UPDATES).to_pylist()
        for place, name in enumerate([names[0], *names]):  # the first waits until everything runs
            update = {"item_id": name, "version": 10_000_000 + place, "price": 1_000.0 + place, "hidden": False}
            requests.put(f"{addresses[0]}/v1/items", json={"items": [update]}, timeout=60).raise_for_status()
            begun = time.perf_counter()
            wait_until(lambda name=name, place=place: price(addresses[1], name) == 1_000.0 + place)  # type: ignore[misc]
            seconds.append(time.perf_counter() - begun)
    return [
        Measure(f"item update to the other machine, {name}", float(np.percentile(seconds[1:], q)), "s", bar)
        for name, q, bar in (("p50", 50, None), ("p99", 99, "<= 1"))
    ]


def price(address: str, item: str) -> float | None:
    body = {"surface": "home", "user_id": "u", "candidates": [item]}
    answer = requests.post(f"{address}/v1/rank", json=body, timeout=60).json()
    return answer["items"][0]["price"] if answer.get("items") else None


def kills(home: Path) -> list[Measure]:
    """One after another is killed and started again, while slates and events are appended; then all is compared."""
    log, target = SqliteLog(home / "service.sqlite"), f"chdb://{home}/clickhouse"
    places = {"produce": home / "service.sqlite", "consume": target}
    done, turns = threading.Event(), ["consume", "produce"] * KILLS
    for place in range(KILLS // 4, 0, -1):
        turns.insert(place * len(turns) // (KILLS // 4 + 1), "broker")
    writer = threading.Thread(target=append_until, args=(log, done))
    with broker(home) as small:
        children = {name: start(name, place, small.address, home) for name, place in places.items()}
        writer.start()
        moved = {"produce": lambda: marks(home / "service.sqlite"), "consume": lambda: committed(small.address)}
        before = {name: read() for name, read in moved.items()}
        for victim in turns:
            for name in moved if victim == "broker" else [victim]:  # what is killed has got somewhere
                wait_until(lambda name=name: moved[name]() != before[name])  # type: ignore[misc]
            if victim == "broker":
                small.kill()
                time.sleep(0.5)
                small.start()
            else:
                children[victim].kill()
                children[victim].wait()
                before[victim] = moved[victim]()
                children[victim] = start(victim, places[victim], small.address, home)
        done.set()
        writer.join()
        for name, child in children.items():
            child.kill()
            child.wait()
            start(name, places[name], small.address, home, "--once").wait()
    counted = {victim: turns.count(victim) for victim in ("broker", "consume", "produce")}
    about = f"{counted['broker']} broker, {counted['consume']} consumer, {counted['produce']} producer"
    sent, stored = records(log), records(open_log(target))
    names = [name for name, _ in stored]
    return [
        Measure(f"kill -9: {about}: on record", float(len(sent)), "records"),
        Measure("kill -9: not in ClickHouse", float(len({name for name, _ in sent} - set(names))), "records", "<= 0"),
        Measure("kill -9: there twice", float(len(names) - len(set(names))), "records", "<= 0"),
        Measure("kill -9: there with other content", float(len(set(stored) - set(sent))), "records", "<= 0"),
    ]


def marks(log: Path) -> list[tuple[str]]:
    """How far each producer's streams were acknowledged."""
    with closing(sqlite3.connect(log)) as connection:
        return connection.execute("SELECT value FROM about WHERE name LIKE 'note kafka%sent'").fetchall()


def committed(address: str) -> int:
    """How many records the consumers have committed; 0 where the broker does not say."""
    consumer = Brokers.of(address).consumer("log", lambda error: None)
    places = [TopicPartition(topic, number) for topic in ("slates", "feedback") for number in range(PARTITIONS)]
    try:
        return sum(max(place.offset, 0) for place in consumer.committed(places, timeout=2))
    except KafkaException:
        return 0
    finally:
        consumer.close()


def append_until(log: SqliteLog, done: threading.Event) -> None:
    """LOAD slates a second, with a click each."""
    made, number = make_slates(50), 0
    while not done.is_set():
        slate = replace(made[number % 50], request_id=f"r{number}", user_id=f"u{number % 97}")
        log.append(slate)
        event = {"feedback_id": f"f{number}", "request_id": f"r{number}", "event": "click", "time": slate.time}
        event |= {"user_id": slate.user_id, "item_id": slate.item_id[0]}
        log.append_feedback(conform(pa.Table.from_pylist([event]), FEEDBACK, where="made events"))
        number += 1
        time.sleep(1 / LOAD)


def records(log: Log) -> list[tuple[str, str]]:
    """Ids and contents of all slates and events, however often each is there."""
    tables = {"request_id": log.slates(), "feedback_id": log.feedback()}
    return [(row[name], repr(row)) for name, table in tables.items() for row in table.to_pylist()]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("waited in vain")
        time.sleep(0.005)


if __name__ == "__main__":
    main()
