"""How long does the point-in-time join of 5 M events and 10 M rows take here, in DuckDB and in ClickHouse (chDB)?

Each row takes the value of the latest event of its group strictly before its time. Events and rows come in order of
time, as a log holds them; the peers have them in tables in memory and answer with the values alone, as Arrow, with as
many threads as there are cores. Rounds are alternated, the median counts. Other sizes are tried with EVENTS=500000
ROWS=1000000.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.record import Measure, print_table, record
from features.asof import Timeline
from marketplace.clickhouse.connection import ClickhouseClient

SEED, GROUPS, ROUNDS = 0, 100_000, 3
TRIED = "EVENTS" in os.environ or "ROWS" in os.environ
EVENTS, ROWS = int(os.environ.get("EVENTS", "5000000")), int(os.environ.get("ROWS", "10000000"))
SPAN = 10**13  # microseconds
JOIN = """SELECT events.value FROM moments
ASOF LEFT JOIN events ON moments.entity = events.entity AND moments.at > events.at"""
Join = Callable[[], pa.Array]


def made(rng: np.random.Generator, size: int, *, values: bool) -> pa.Table:
    columns = {"entity": rng.integers(0, GROUPS, size), "at": np.sort(rng.integers(0, SPAN, size))}
    return pa.table(columns | ({"value": rng.random(size)} if values else {}))


def ours(events: pa.Table, moments: pa.Table) -> Join:
    entity, at, value = (events[name].to_numpy() for name in ("entity", "at", "value"))
    group, now = moments["entity"].to_numpy(), moments["at"].to_numpy()

    def join() -> pa.Array:
        line = Timeline(entity, at)
        return pa.array(line.latest(line.before(group, now), value), from_pandas=True)

    return join


def duckdb(events: pa.Table, moments: pa.Table) -> Join | None:
    try:
        import duckdb as engine
    except ImportError:
        print("DuckDB is not installed (pip install 'value-model[benchmarks]'): chDB alone is compared")
        return None
    connection = engine.connect()
    for name, table in (("events", events), ("moments", moments)):
        connection.register(f"{name}_given", table)
        connection.execute(f"CREATE TABLE {name} AS SELECT * FROM {name}_given")
    return lambda: connection.sql(JOIN).to_arrow_table()["value"]


def chdb(events: pa.Table, moments: pa.Table, folder: Path) -> Join:
    client = ClickhouseClient(f"chdb://{folder}")
    for name, table in (("events", events), ("moments", moments)):
        columns = ", ".join(f"{c} {'Float64' if c == 'value' else 'Int64'}" for c in table.column_names)
        client.command(f"CREATE TABLE {name} ({columns}) ENGINE = Memory")
        client.insert(name, table)
    return lambda: client.table(f"{JOIN} SETTINGS join_use_nulls = 1").column(0)


def main() -> None:
    rng = np.random.default_rng(SEED)
    events, moments = made(rng, EVENTS, values=True), made(rng, ROWS, values=False)
    with tempfile.TemporaryDirectory() as folder:
        peers = {"chDB": chdb(events, moments, Path(folder)), "DuckDB": duckdb(events, moments)}
        every = {"Timeline": ours(events, moments), **peers}
        joins = {name: join for name, join in every.items() if join is not None}
        took: dict[str, list[float]] = {name: [] for name in joins}
        answers: dict[str, tuple[int, float]] = {}
        for _ in range(ROUNDS):
            for name, join in joins.items():
                start = time.perf_counter()
                values = join()
                took[name].append(time.perf_counter() - start)
                answers[name] = values.null_count, round(pc.sum(values).as_py(), 2)
        seconds = {name: float(np.median(rounds)) for name, rounds in took.items()}
        fastest = min(seconds[name] for name in seconds if name != "Timeline")
        measures = [Measure(f"point-in-time join: {name}", value, "s") for name, value in seconds.items()]
        measures += [
            Measure("Timeline over the faster of the others", seconds["Timeline"] / fastest, "", "<= 1.25"),
            Measure("answers that differ in sum or in unknown rows", len(set(answers.values())) - 1, "", "<= 0"),
        ]
        if TRIED:
            print_table("asof_join", measures)
            return
    record("asof_join", measures, data=f"{EVENTS:,} events of {GROUPS:,} entities, {ROWS:,} rows", seed=SEED)


if __name__ == "__main__":
    main()
