"""How fast is a log loaded into ClickHouse, what does a kill cost it, and how long and how large is a month's analysis?

Loading: slates of 50 items with 40 numeric and 5 categorical features and 4 predictions, from a service's SQLite log,
from a file of Parquet, and from Kafka (a broker in memory, on the same cores). Seconds run from the opening of
ClickHouse on; those until the first batch is stored, most of which are the engine's start, stand beside.
Kills: `kill -9` in or after one of the first batches of 80 slates, 20 times, then one load to the end.
Analysis: 100 million items of 2 million slates, 20 of 50 shown, of 30 days that are alike, with clicks and orders; each
in a process of its own, whose largest resident memory is measured. The machine is shared, so CPU seconds stand beside.
"""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.log import ITEMS, make_slates
from benchmarks.record import Measure, record
from benchmarks.small_broker import SmallBroker
from marketplace.clickhouse import loading
from marketplace.clickhouse.clickhouse_log import ClickhouseLog
from marketplace.clickhouse.sums import period_sums, variant_sums
from marketplace.codec import write_parquet
from marketplace.kafka.client import Brokers
from marketplace.kafka.consumer import TopicConsumer
from marketplace.kafka.effects import apply
from marketplace.kafka.positions import SharedPositions
from marketplace.kafka.producer import LogProducer
from marketplace.kafka.records import Topic
from marketplace.loaded import Loaded
from marketplace.schema import SLATE
from marketplace.slate import slates_to_table
from marketplace.sqlite_log import SqliteLog

SEED = 0
LOADED = 24_000  # slates
KILLED, KILLS, AT_ONCE = 6_000, 20, 80  # slates, processes that are killed, slates a batch of theirs
A_DAY, DAYS, START = 66_700, 30, datetime(2026, 6, 1, tzinfo=UTC)  # slates
QUICK = {"session.timeout.ms": "1000", "heartbeat.interval.ms": "200"}  # the small broker makes new members wait
GIB = 2**30


def service_log(path: Path, count: int) -> SqliteLog:
    """A log of `count` slates, the 1,000 of `benchmarks.log` under other ids, ten seconds apart."""
    log, table = SqliteLog(path), slates_to_table(make_slates(1000))
    for start in range(0, count, len(table)):
        ids = pa.array([f"request-{start + row}" for row in range(len(table))])
        times = pa.array([1_780_000_000_000_000 + 10**7 * (start + row) for row in range(len(table))])
        part = table.set_column(0, table.schema.field(0), ids)
        log.append_slates(part.set_column(1, table.schema.field(1), times.cast(table.schema.field(1).type)))
    return log


def load(source: str, address: str, at_once: str = "") -> None:
    """A line each time that a batch is stored, and one of figures at the end; `source`: file, folder or broker."""
    loading.SLATES_AT_ONCE = int(at_once or loading.SLATES_AT_ONCE)
    begun, spent, stored = time.perf_counter(), time.process_time(), []
    log = ClickhouseLog(address)

    def progress(loaded: Loaded) -> None:
        stored.append(time.perf_counter() - begun)
        print(loaded.items, flush=True)

    if not source.startswith("/"):
        consume(source, log, progress)
    elif Path(source).is_dir():
        loading.load_files(Path(source), log, progress=progress)
    else:
        loading.load_log(SqliteLog(source), log, name="one", progress=progress)
    figures = {"first": stored[0], "seconds": stored[-1], "cpu": time.process_time() - spent} if stored else {}
    query = "SELECT count(), uniqExact(request_id), sum(considered) FROM slates"
    print(json.dumps({**figures, "rows": log.connection.rows(query)[0]}))


def consume(broker: str, log: ClickhouseLog, progress: Callable[[Loaded], None]) -> None:
    """Everything of the topic of slates."""
    consumer = TopicConsumer(
        lambda deliveries: apply(deliveries, log),
        Brokers({"bootstrap.servers": broker, **QUICK}),
        SharedPositions("one"),
        topics=[Topic.SLATES],
        partitions=1,
    )
    loaded = Loaded()
    while not consumer.at_end:
        if accepted := consumer.step(0.05).receipt.accepted:
            loaded += Loaded(accepted, accepted * ITEMS)
            progress(loaded)
    consumer.close()


def call(function: str, *arguments: str) -> list[str]:
    code = f"import sys; from benchmarks import clickhouse; clickhouse.{function}(*sys.argv[1:])"
    return [sys.executable, "-c", code, *arguments]


def answer(function: str, *arguments: str) -> dict:
    done = subprocess.run(call(function, *arguments), capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def killed(path: Path, address: str) -> int:
    """Loaders that were killed at work: between two batches, or within one."""
    rng, died = np.random.default_rng(SEED), 0
    for _ in range(KILLS):
        loader = subprocess.Popen(call("load", str(path), address, str(AT_ONCE)), stdout=subprocess.PIPE)
        for _ in range(rng.integers(3)):
            loader.stdout.readline()  # type: ignore[union-attr]
        time.sleep(rng.uniform(0, 0.1))
        died += loader.poll() is None
        loader.send_signal(signal.SIGKILL)
        loader.wait()
    return died


COLUMNS = """surface, user_id, experiment, variant, currency, policy_version, weights, item_id, merchant_id, price,
    source, retrieval_score, merchant_value, value, position, propensity, predictions"""
FIRST_DAY = f"""INSERT INTO slates (arrival, request_id, time, {COLUMNS})
SELECT number + 1, toString(cityHash64(number)), toDateTime64({int(START.timestamp())}, 6, 'UTC')
        + toIntervalMicrosecond(number * {86_400 * 10**6 // A_DAY}),
    ['home', 'search', 'store_page', 'product_page'][number % 4 + 1], 'user-' || toString(number * 3 % 200000),
    'example',
    if(number * 3 % 2 = 0, 'control', 'treated'), 'SAR', 'v1', map('w', 1.),
    arrayMap(i -> 'item-' || toString(cityHash64(number, i) % 100000), range({ITEMS})),
    arrayMap(i -> 'merchant-' || toString(cityHash64(number, i) % 500), range({ITEMS})),
    arrayMap(i -> 5. + cityHash64(i, number) % 10000 / 50, range({ITEMS})),
    arrayMap(i -> 'two_tower', range({ITEMS})),
    arrayMap(i -> toFloat32(i), range({ITEMS})), arrayMap(i -> 0., range({ITEMS})),
    arrayMap(i -> cityHash64(number, i, 1) % 1000 / 1000, range({ITEMS})),
    arrayMap(i -> if(i < 20, toInt32(i + 1), 0), range({ITEMS})),
    arrayMap(i -> if(i < 20, 1 / (i + 1), nan), range({ITEMS})),
    map('ctr', arrayMap(i -> .01 + cityHash64(i, 2, number) % 1000 / 10000, range({ITEMS})))
FROM numbers({A_DAY})"""
FURTHER_DAY = f"""INSERT INTO slates (arrival, request_id, time, {COLUMNS})
SELECT arrival + {{day}} * {A_DAY}, request_id || '-{{day}}', time + toIntervalDay({{day}}), {COLUMNS}
FROM slates WHERE arrival <= {A_DAY}"""
EVENTS = """INSERT INTO feedback (arrival, feedback_id, request_id, event, time, user_id, item_id, amount, currency)
SELECT rowNumberInAllBlocks() + 1, request_id || toString(place) || event, request_id, event,
    time + toIntervalSecond(30), user_id, item_id[place], if(event = 'order', price[place], NULL), currency
FROM (SELECT request_id, time, user_id, item_id, price, currency, arrayJoin([1, 2, 3, 5, 8]) AS place FROM slates
    WHERE cityHash64(request_id, 7) % 4 = 0)
ARRAY JOIN if(cityHash64(request_id, place) % 20 = 0, ['click', 'order'], ['click']) AS event"""
CALIBRATION = """SELECT toStartOfDay(time) AS day, surface, count() AS shown, sum(predictions['ctr']) AS expected
FROM slate_items WHERE position > 0 GROUP BY day, surface"""
MERCHANTS = """SELECT merchant_id, count(), sum(price), sum(1 / log2(position + 1)) FROM slate_items WHERE position > 0
GROUP BY merchant_id"""


def month(address: str) -> None:
    """Make the month."""
    log, begun = ClickhouseLog(address), time.perf_counter()
    for statement in (FIRST_DAY, *(FURTHER_DAY.format(day=day) for day in range(1, DAYS)), EVENTS):
        log.connection.command(statement)
    rows = log.connection.rows("SELECT sum(considered), count() FROM slates")[0]
    size = log.connection.rows("SELECT sum(bytes_on_disk) FROM system.parts WHERE active")[0][0]
    print(json.dumps({"seconds": time.perf_counter() - begun, "rows": rows, "bytes": int(size)}))


def days(log: ClickhouseLog) -> Iterator[int]:
    """What `watch` reads of a whole day, one day after another."""
    for number in range(DAYS):
        since = START + timedelta(days=number)
        within = {"since": since, "until": since + timedelta(days=1)}
        yield len(log.slates(**within)) + len(log.feedback(**within))


ANALYSES: dict[str, Callable[[ClickhouseLog], object]] = {
    "sums by hour, `log sums --by hour`": lambda log: period_sums(log, by="hour"),
    "expected clicks of items shown, by day and surface": lambda log: log.connection.table(CALIBRATION),
    "exposure and price of items shown, by merchant": lambda log: log.connection.table(MERCHANTS),
    "sums of an experiment, `log sums --experiment`": lambda log: variant_sums(log, "example"),
    "one day's slates and events as tables, every column": lambda log: next(days(log)),
}


def analyse(address: str, name: str) -> None:
    """Seconds, CPU seconds and the largest resident memory of one analysis in this process."""
    log = ClickhouseLog(f"{address}?max_memory_usage={4 * GIB}")
    begun, spent = time.perf_counter(), time.process_time()
    ANALYSES[name](log)
    seconds, cpu = time.perf_counter() - begun, time.process_time() - spent
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "cpu": cpu, "peak": peak}))


def rates(folder: Path) -> list[Measure]:
    """The same slates from each source."""
    log, broker, rows = service_log(folder / "log.sqlite", LOADED), SmallBroker(folder / "broker.txt"), []
    (folder / "files").mkdir()
    write_parquet(log.slates(), folder / "files" / "slates.parquet", SLATE)
    broker.start()
    try:
        producer = LogProducer(log, Brokers.of(broker.address), partitions=1)
        while producer.step(0.01) or producer.waiting:
            pass
        producer.close()
        sources = {"SQLite": f"{folder}/log.sqlite", "Parquet": f"{folder}/files", "Kafka": broker.address}
        for name, source in sources.items():
            done = answer("load", source, f"chdb://{folder}/from-{name}")
            assert done["rows"] == [LOADED, LOADED, LOADED * ITEMS]
            rows += [
                Measure(
                    f"slate-items a second, from {name}", LOADED * ITEMS / done["seconds"], "items / s", ">= 200000"
                ),
                Measure(f"slate-items in 2 CPU seconds, from {name}", 2 * LOADED * ITEMS / done["cpu"], "items"),
                Measure(f"seconds until the first batch is stored, from {name}", done["first"], "s"),
            ]
    finally:
        broker.kill()
    return rows


def measures(folder: Path) -> list[Measure]:
    rows = rates(folder)
    service_log(folder / "short.sqlite", KILLED).close()
    died = killed(folder / "short.sqlite", f"chdb://{folder}/killed")
    total, different, _ = answer("load", str(folder / "short.sqlite"), f"chdb://{folder}/killed")["rows"]
    rows += [
        Measure("loaders killed before they were done", died, "processes"),
        Measure(f"slates lost in {KILLS} kills", KILLED - different, "slates", "<= 0"),
        Measure(f"slates repeated in {KILLS} kills", total - different, "slates", "<= 0"),
    ]
    made = answer("month", f"chdb://{folder}/month")
    rows += [
        Measure("slate-items analysed", made["rows"][0], "items", ">= 100000000"),
        Measure("bytes an item on disk", made["bytes"] / made["rows"][0], "bytes"),
    ]
    for name in ANALYSES:
        result = answer("analyse", f"chdb://{folder}/month", name)
        rows.append(Measure(f"{name}: seconds", result["seconds"], "s"))
        rows.append(Measure(f"{name}: CPU", result["cpu"], "s"))
        rows.append(Measure(f"{name}: largest memory of the process", result["peak"] / GIB, "GiB", "<= 4"))
    return rows


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=Path(tempfile.gettempdir())) as name:
        data = f"{LOADED:,} made slates of {ITEMS} items; {A_DAY:,} slates a day of {DAYS} days made in ClickHouse"
        record("clickhouse", measures(Path(name)), data=data, seed=SEED)
