"""What does it cost to log a slate durably, in time and bytes, and to read 10,000 of them back?

A slate here has 50 items, 40 numeric and 5 categorical features and 4 predictions. Baselines: the same slate in the
same SQLite file as JSON text, and as an Arrow stream that carries its schema.
"""

from __future__ import annotations

import multiprocessing
import sqlite3
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.record import Measure, record
from marketplace.codec import json_to_slates, slate_to_json
from marketplace.slate import Slate, slates_to_batch
from marketplace.sqlite_log import SqliteLog

SEED = 0
ITEMS, READ_BACK, APPENDS = 50, 10_000, 1_000


def make_slates(count: int) -> list[Slate]:
    rng = np.random.default_rng(SEED)
    versions = ("retriever", "index", "ranker", "calibrator", "policy", "feature_spec")
    result = []
    for i in range(count):
        ids = np.array([f"item-{j}" for j in rng.integers(0, 100_000, ITEMS)], object)
        result.append(
            Slate(
                request_id=f"request-{i}",
                time=datetime.fromtimestamp(1_750_000_000 + i, UTC),
                surface="home",
                user_id=f"user-{i % 97}",
                currency="SAR",
                **{f"{name}_version": "0123456789ab" for name in versions},  # type: ignore[arg-type]
                item_id=ids,
                merchant_id=np.array([f"merchant-{j}" for j in rng.integers(0, 500, ITEMS)], object),
                price=rng.lognormal(4, 1, ITEMS).round(2),
                source=np.array(["two_tower"] * ITEMS, object),
                retrieval_score=rng.random(ITEMS, np.float32),
                merchant_value=rng.random(ITEMS),
                value=rng.random(ITEMS),
                position=np.arange(1, ITEMS + 1, dtype=np.int32),
                propensity=rng.random(ITEMS),
                predictions={head: rng.random(ITEMS) for head in ("ctr", "cvr", "order_value", "gmv")},
                weights={"gmv": 1.0, "ctr": 0.1, "merchant_value": 1.0},
                numeric={f"number_{k}": rng.random(ITEMS, np.float32) for k in range(40)},
                categorical={f"category_{k}": ids for k in range(5)},
            )
        )
    return result


def stream(slate: Slate) -> bytes:
    """The slate as an Arrow stream of its own, schema included."""
    batch, sink = slates_to_batch([slate]), pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def baseline(folder: Path, encode: Callable[[Slate], bytes]) -> Callable[[Slate], None]:
    """Append to a plain SQLite table with the same durability."""
    connection = sqlite3.connect(folder / f"{encode.__name__}.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("CREATE TABLE slates (request_id TEXT PRIMARY KEY, body BLOB)")
    return lambda slate: connection.execute("INSERT INTO slates VALUES (?, ?)", (slate.request_id, encode(slate)))


def append_times(append: Callable[[Slate], object], slates: list[Slate]) -> np.ndarray:
    """Microseconds of each append."""
    marks = [time.perf_counter()]
    for slate in slates:
        append(slate)
        marks.append(time.perf_counter())
    return np.diff(marks) * 1e6


def write(path: Path, name: str, ready: object) -> None:
    log, slates = SqliteLog(path), make_slates(APPENDS)
    ready.wait()  # type: ignore[attr-defined]
    for slate in slates:
        log.append(replace(slate, request_id=f"{name}-{slate.request_id}"))


def together(path: Path, writers: int) -> float:
    """Slates a second that `writers` processes append to one file."""
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(writers + 1)
    processes = [context.Process(target=write, args=(path, str(i), ready)) for i in range(writers)]
    for process in processes:
        process.start()
    ready.wait()
    start = time.perf_counter()
    for process in processes:
        process.join()
    return writers * APPENDS / (time.perf_counter() - start)


def measures(folder: Path) -> list[Measure]:
    slates = make_slates(APPENDS)
    log, careful = SqliteLog(folder / "log.db"), SqliteLog(folder / "careful.db", survive_power_loss=True)
    times = append_times(log.append, slates)
    size = np.mean([row[0] for row in sqlite3.connect(folder / "log.db").execute("SELECT length(body) FROM slates")])
    rows = [
        Measure("append, p50", float(np.median(times)), "us", "<= 1000"),
        Measure("append, p99", float(np.quantile(times, 0.99)), "us"),
        Measure("append that survives power loss, p50", float(np.median(append_times(careful.append, slates))), "us"),
        Measure("bytes a slate", float(size), "bytes"),
    ]
    for name, encode in (("JSON text", slate_to_json), ("an Arrow stream with its schema", stream)):
        times = append_times(baseline(folder, encode), slates)
        rows.append(Measure(f"append as {name}, p50", float(np.median(times)), "us"))
        rows.append(Measure(f"bytes a slate as {name}", float(np.mean([len(encode(s)) for s in slates[:50]])), "bytes"))
    for i in range(APPENDS, READ_BACK):
        log.append(replace(slates[i % APPENDS], request_id=f"again-{i}"))
    start = time.perf_counter()
    read = len(log.slates())
    rows.append(Measure(f"seconds to read {read} slates back", time.perf_counter() - start, "s", "<= 10"))
    lines = b"".join(map(slate_to_json, slates))
    start = time.perf_counter()
    json_to_slates(lines)
    seconds = (time.perf_counter() - start) * read / len(slates)
    rows.append(Measure(f"seconds to read {read} slates from JSON text, from {len(slates)}", seconds, "s"))
    rows.append(Measure("slates a second of 3 writer processes", together(folder / "three.db", 3), "slates / s"))
    return rows


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        record("log", measures(Path(name)), data="made slates of 50 items", seed=SEED)
