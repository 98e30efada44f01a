"""Do the store in memory, the store in Redis and the batch form give the same features after a million events?

Events come late, in another order than their times, and some twice; they go through the log, which drops repeats, and
one follower teaches each store. Then: what a request's features cost from Redis on loopback, to a worker that learns of
BETWEEN events from another one before each request (5,000 events and 200 requests a second); and how long an event
takes from its arrival to the features, where one process appends 5,000 a second to the log and another one follows it.
Less is tried with EVENTS=50000 SECONDS=5.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.record import Measure, print_table, record, skip
from benchmarks.redis_server import redis_server
from features.backends.redis_store import RedisStore
from features.backfill import known_before
from features.definitions import standard_spec
from features.store import MemoryStore
from marketplace.dataset import Dataset
from marketplace.schema import FEEDBACK, ITEMS, MERCHANTS, SLATE, USERS, conform, empty
from marketplace.slate import table_to_slates
from marketplace.sqlite_log import SqliteLog
from serving.following import Follower
from serving.shared_following import SharedFollower, read_position

SEED = 0
EVENTS, SHOWN = int(os.environ.get("EVENTS", "1000000")), 10
SLATES = EVENTS // 50
USERS_ALL, ITEMS_ALL, MERCHANTS_ALL, CATEGORIES = 20_000, 10_000, 500, 60
BATCH = 10_000  # events of one append
LATE = 3_600  # seconds that an event may reach the log after its time
REPEATED = 0.05
REQUESTS = 300
RATE, SECONDS, BETWEEN = 5_000, int(os.environ.get("SECONDS", "20")), 25
SPEC = standard_spec(against_list=True, product_pages=True, sequence=True)
START = datetime(2026, 1, 1, tzinfo=UTC)
SPAN = timedelta(days=40)
AFTER = SPAN.total_seconds() + 120  # seconds from START, when RATE events a second begin to come


def named(prefix: str, numbers: np.ndarray) -> pa.Array:
    return pa.array([f"{prefix}{number}" for number in numbers.tolist()])


def times(seconds: np.ndarray) -> pa.Array:
    first = int(START.timestamp() * 1e6)
    return pa.array(first + (seconds * 1e6).astype(np.int64)).cast(pa.timestamp("us", tz="UTC"))


def catalogue(rng: np.random.Generator) -> Dataset:
    """Items, merchants and shoppers, without events."""
    items, merchants = np.arange(ITEMS_ALL), np.arange(MERCHANTS_ALL)
    columns = {
        "item_id": named("i", items),
        "merchant_id": named("m", items % MERCHANTS_ALL),
        "category": named("c", items % CATEGORIES),
        "name": named("Dress ", items % 700),
        "price": rng.lognormal(3, 1, ITEMS_ALL),
        "currency": ["AED"] * ITEMS_ALL,
        "in_stock": [True] * ITEMS_ALL,
    }
    rates = {name: rng.uniform(0, 0.3, MERCHANTS_ALL) for name in ("commission_rate", "quality", "return_rate")}
    rates |= {"refusal_rate": rng.uniform(0, 0.1, MERCHANTS_ALL)}
    shoppers = {"user_id": named("u", np.arange(USERS_ALL)), "segment": named("s", np.arange(USERS_ALL) % 6)}
    return Dataset(
        "events",
        "AED",
        conform(pa.table(columns), ITEMS, where="items"),
        conform(pa.table({"merchant_id": named("m", merchants), **rates}), MERCHANTS, where="merchants"),
        conform(pa.table(shoppers), USERS, where="users"),
        empty(SLATE),
        empty(FEEDBACK),
    )


def popular(rng: np.random.Generator, size: int, *, of: int) -> np.ndarray:
    """Numbers below `of`, the lower the more often."""
    return (of * rng.random(size) ** 3).astype(np.int64)


def events(rng: np.random.Generator, size: int, *, seconds: np.ndarray, first: int = 0) -> pa.Table:
    """FEEDBACK, each event at one of `seconds` (in order of arrival), a third of which answers a list."""
    users = popular(rng, size, of=USERS_ALL)
    columns = {
        "feedback_id": named("f", first + np.arange(size)),
        "request_id": pa.array(
            [f"r{number}" if number < SLATES else None for number in rng.integers(0, 3 * SLATES, size)]
        ),
        "event": rng.choice(["click", "cart", "order"], size, p=[0.8, 0.15, 0.05]),
        "time": times(seconds),
        "user_id": named("u", users),
        "session_id": named("v", users * 1_000 + (seconds // 86_400).astype(np.int64)),
        "item_id": named("i", popular(rng, size, of=ITEMS_ALL + 50)),
    }
    return conform(pa.table(columns), FEEDBACK, where="events")


def lists(rng: np.random.Generator, size: int, *, seconds: np.ndarray) -> pa.Table:
    """SLATE rows of SHOWN items, at `seconds`."""
    offsets = pa.array(np.arange(size + 1) * SHOWN, pa.int32())
    items, users = popular(rng, size * SHOWN, of=ITEMS_ALL), popular(rng, size, of=USERS_ALL)

    def listed(values: object, kind: pa.DataType) -> pa.Array:
        return pa.ListArray.from_arrays(offsets, pa.array(values, kind))

    columns = {
        "request_id": named("r", np.arange(size)),
        "time": times(seconds),
        "surface": ["home"] * size,
        "user_id": named("u", users),
        "session_id": named("v", users * 1_000 + (seconds // 86_400).astype(np.int64)),
        "page_item_id": pa.array([f"i{item}" if item % 4 else None for item in items[::SHOWN].tolist()]),
        "currency": ["AED"] * size,
        "item_id": listed(named("i", items), pa.string()),
        "merchant_id": listed(named("m", items % MERCHANTS_ALL), pa.string()),
        "price": listed(np.full(size * SHOWN, 10.0), pa.float64()),
        "position": listed(np.tile(np.arange(1, SHOWN + 1), size).astype(np.int32), pa.int32()),
        "source": listed(["s"] * size * SHOWN, pa.string()),
    }
    columns |= {name: ["v"] * size for name in SLATE.names if name.endswith("_version")}
    columns |= {
        name: pa.array([[]] * size, SLATE.field(name).type)
        for name in ("weights", "numeric", "categorical", "predictions", "context")
    }
    for name in ("retrieval_score", "merchant_value", "value", "propensity"):
        columns[name] = listed(np.zeros(size * SHOWN), SLATE.field(name).type.value_type)
    return conform(pa.table(columns), SLATE, where="lists")


def market(rng: np.random.Generator) -> tuple[pa.Table, pa.Table]:
    """A million events as they arrive, each within LATE after its time, some twice; and slates in order of time."""
    span = SPAN.total_seconds()
    arrival = np.sort(rng.uniform(LATE, span, EVENTS))
    feedback = events(rng, EVENTS, seconds=arrival - rng.uniform(0, LATE, EVENTS))
    again = np.sort(np.append(np.arange(EVENTS), rng.choice(EVENTS, int(REPEATED * EVENTS), replace=False)))
    return feedback.take(pa.array(again)), lists(rng, SLATES, seconds=np.sort(rng.uniform(0, span, SLATES)))


def taught(log: SqliteLog, feedback: pa.Table, slates: pa.Table, followers: Mapping[str, Follower | SharedFollower]):
    """Seconds that each follower takes, where events and slates are appended in batches."""
    seconds = dict.fromkeys(followers, 0.0)
    shown = table_to_slates(slates)
    batches = -(-len(feedback) // BATCH)
    for number in range(batches):
        log.append_feedback(feedback.slice(number * BATCH, BATCH))
        for slate in shown[number * len(shown) // batches : (number + 1) * len(shown) // batches]:
            log.append(slate)
        for name, follower in followers.items():
            start = time.perf_counter()
            follower.follow(at_once=True)
            seconds[name] += time.perf_counter() - start
    return seconds


def differences(forms: Mapping[str, Mapping[str, np.ndarray]], rows: slice, requests: slice) -> Counter[str]:
    """Values in which a store differs from the batch form: whole numbers at all, others by more than 1e-9."""
    differ: Counter[str] = Counter()
    for name, values in forms["batch"].items():
        expected = values[rows if len(values) > REQUESTS else requests]
        whole = np.array_equal(expected, np.round(expected), equal_nan=True)
        for form in ("memory", "redis"):
            same = np.isclose(forms[form][name], expected, rtol=0.0 if whole else 1e-9, atol=0.0, equal_nan=True)
            differ[form] += int((~same).sum())
            differ["values"] += same.size
            if not same.all():
                print(f"{form}: {name} {forms[form][name][~same][:3]}, batch form {expected[~same][:3]}", flush=True)
    return differ


def parity(data: Dataset, memory: MemoryStore, redis: RedisStore, rng: np.random.Generator) -> list[Measure]:
    """Every column of every statistic for REQUESTS requests after all events."""
    asked = lists(rng, REQUESTS, seconds=np.full(REQUESTS, SPAN.total_seconds() + 60))
    batch = known_before(data, asked, spec=SPEC).state.statistics
    differ: Counter[str] = Counter()
    for number, slate in enumerate(table_to_slates(asked)):
        rows = memory.catalogue.rows(pa.array(slate.item_id, pa.string()))
        forms = {"batch": batch}
        for name, store in (("memory", memory), ("redis", redis)):
            user = store.lookup(slate, rows[:0])
            forms[name] = store.lookup(slate, rows, price=slate.price, snapshot=user).state.statistics
        differ += differences(forms, slice(number * SHOWN, (number + 1) * SHOWN), slice(number, number + 1))
    return [
        Measure("values compared with the batch form", differ["values"], "values"),
        Measure("of them that differ in memory", differ["memory"], "values", "<= 0"),
        Measure("of them that differ in Redis", differ["redis"], "values", "<= 0"),
    ]


def reads(store: RedisStore, teacher: RedisStore, rng: np.random.Generator, *, items: int) -> np.ndarray:
    """Milliseconds [requests, 2] of a request's two look-ups and of their CPU here, on home pages of shoppers, while
    `teacher` learns."""
    took, now = [], AFTER + SECONDS + 60
    news = events(rng, REQUESTS * BETWEEN, seconds=np.full(REQUESTS * BETWEEN, now))
    for number, slate in enumerate(table_to_slates(lists(rng, REQUESTS, seconds=np.full(REQUESTS, now)))):
        teacher.update(news.slice(number * BETWEEN, BETWEEN))
        rows = np.unique(popular(rng, 3 * items, of=ITEMS_ALL))[:items].astype(np.int32)
        asking = replace(slate, page_item_id=None)
        start, spent = time.perf_counter(), time.thread_time()
        user = store.lookup(asking, rows[:0])
        store.lookup(asking, rows, snapshot=user)
        took.append((time.perf_counter() - start, time.thread_time() - spent))
    return 1e3 * np.array(took[REQUESTS // 10 :])


def append(path: str) -> None:
    """Append RATE events a second to a log, from a line of standard input on, and say when that was."""
    size = RATE * SECONDS
    log, due, at = SqliteLog(Path(path)), np.arange(size) / RATE, 0
    feedback = events(np.random.default_rng(SEED), size, seconds=AFTER + due, first=EVENTS)
    sys.stdin.readline()
    print(began := time.monotonic(), flush=True)
    while at < size:
        upto = int(np.searchsorted(due, time.monotonic() - began, side="right"))
        if upto > at:
            log.append_feedback(feedback.slice(at, upto - at))
        at = upto
        time.sleep(0.005)


def arrivals(path: Path, store: RedisStore, follower: SharedFollower) -> list[Measure]:
    """Seconds from an event's due time, RATE of them a second, until the store in Redis knows it."""
    code = "import sys; from benchmarks import feature_backends; feature_backends.append(sys.argv[1])"
    size, at = RATE * SECONDS, 0
    due, late, first = np.arange(size) / RATE, np.zeros(size), read_position(store.position())[0].feedback
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdin=-1, stdout=-1, text=True) as appender:
        assert appender.stdin is not None
        assert appender.stdout is not None
        appender.stdin.write("\n")
        appender.stdin.flush()
        began = float(appender.stdout.readline())
        while at < size:
            follower.follow()
            upto = read_position(store.position())[0].feedback - first
            late[at:upto] = time.monotonic() - began - due[at:upto]
            if upto == at and appender.poll():
                raise RuntimeError(f"the appender ended with {appender.returncode} after {at} events")
            at = upto
    p50, p99 = np.quantile(late, (0.5, 0.99))
    return [
        Measure(f"event to feature in Redis, {RATE:,} events/s, p50", p50, "s"),
        Measure(f"event to feature in Redis, {RATE:,} events/s, p99", p99, "s", "<= 1"),
    ]


def main() -> None:
    if shutil.which("redis-server") is None:
        skip("feature_backends", "redis-server is not installed (apt-get install redis-server)")
    rng = np.random.default_rng(SEED)
    data = catalogue(rng)
    feedback, slates = market(rng)
    with tempfile.TemporaryDirectory() as folder, redis_server(Path(folder)) as url:
        memory = MemoryStore.of(data, spec=SPEC)
        memory.save(Path(folder) / "seed.npz")
        local = MemoryStore(SPEC, memory.catalogue, data.users)
        redis = RedisStore(url, local, version="benchmark", seed=Path(folder) / "seed.npz")
        log = SqliteLog(Path(folder) / "log.sqlite")
        shared = SharedFollower(log, redis, since=START, every=0.0)
        followers = {"memory": Follower(log, memory, since=START, every=0.0), "redis": shared}
        seconds = taught(log, feedback, slates, followers)
        recorded = replace(data, feedback=log.feedback(), slates=slates)
        measures = [
            Measure("events accepted, late and in another order than their times", len(recorded.feedback), "events"),
            Measure("repeated deliveries of them", len(feedback) - len(recorded.feedback), "events"),
            *parity(recorded, memory, redis, rng),
            Measure("learning by the store in memory", len(feedback) / seconds["memory"], "events/s"),
            Measure("learning by the store in Redis", len(feedback) / seconds["redis"], "events/s", ">= 5000"),
        ]
        measures += arrivals(Path(folder) / "log.sqlite", redis, shared)
        local = MemoryStore(SPEC, memory.catalogue, data.users)
        reader = RedisStore(url, local, version="benchmark", seed=Path(folder) / "seed.npz")
        for items, bars in ((50, ("<= 2", "<= 5")), (500, ("<= 5", None))):
            took = reads(reader, redis, rng, items=items)
            for share, bar in zip((0.5, 0.99), bars, strict=True):
                name, (wall, cpu) = f"{items} items x all statistics from Redis", np.quantile(took, share, axis=0)
                measures.append(Measure(f"{name}, p{100 * share:.0f}", wall, "ms", bar))
                measures.append(Measure(f"{name}, CPU of the reader, p{100 * share:.0f}", cpu, "ms"))
        log.close()
    if {"EVENTS", "SECONDS"} & set(os.environ):
        print_table("feature_backends", measures)
        return
    what = f"{EVENTS:,} events of {USERS_ALL:,} shoppers, {SLATES:,} slates over {ITEMS_ALL:,} items"
    record("feature_backends", measures, data=what, seed=SEED)


if __name__ == "__main__":
    main()
