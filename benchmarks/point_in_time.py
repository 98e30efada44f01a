"""Does the SQL of every statistic, in ClickHouse, give the batch form's numbers of a million events, and how soon?

The events of `feature_backends`: late, in another order than their times, some twice. Of each of the 20,000 slates
among them every column of every statistic is computed as of its time, by SQL and by the batch form, whole numbers
equal, others to 1e-9. And how much memory does the SQL take, of as many events and of more? The log is written by one
process and read by another, which computes every statistic of its last slates and nothing else.
Less is tried with EVENTS=50000.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace

import numpy as np

from benchmarks.feature_backends import EVENTS, ITEMS_ALL, SEED, SHOWN, SLATES, USERS_ALL, catalogue, market
from benchmarks.record import Measure, print_table, record
from features.backends.clickhouse_backfill import ClickhouseBackfill
from features.backfill import of_events, rows_of_requests
from features.catalogue import Catalogue
from features.statistics import STATISTICS
from features.statistics.statistic import Columns
from marketplace.clickhouse.clickhouse_log import ClickhouseLog
from marketplace.dataset import Dataset

BATCH = 100_000  # events of one append
LARGER = 3  # times the events
GIB = 2**30


def logged(folder: str, rng: np.random.Generator) -> tuple[Dataset, ClickhouseLog, int]:
    """The catalogue, a log in the folder that a market of EVENTS is appended to, and how many deliveries came."""
    data, (feedback, slates) = catalogue(rng), market(rng)
    log = ClickhouseLog(f"chdb://{folder}")
    for first in range(0, len(feedback), BATCH):
        log.append_feedback(feedback.slice(first, BATCH))
    log.append_slates(slates)
    return data, log, len(feedback)


def written(folder: str) -> None:
    logged(folder, np.random.default_rng(SEED))[1].close()


def computed(folder: str, requests: str) -> None:
    """Compute every statistic of the log's last `requests` by SQL: seconds, memory before and largest memory."""
    log = ClickhouseLog(f"chdb://{folder}")
    slates = log.slates()
    slates = slates.slice(len(slates) - int(requests))
    ClickhouseBackfill(log.connection).put_dataset(catalogue(np.random.default_rng(SEED)), slates)
    start, before = time.perf_counter(), largest_memory()
    for query in (query for statistic in STATISTICS for query in statistic.point_in_time()):
        log.connection.table(query.sql)
    print(json.dumps([time.perf_counter() - start, before, largest_memory()]))


def largest_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def call(function: str, *words: str, events: int) -> str:
    """What a function here prints in a process of its own."""
    code = f"import sys; from benchmarks import point_in_time; point_in_time.{function}(*sys.argv[1:])"
    command, own = [sys.executable, "-c", code, *words], {"EVENTS": str(events)}
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | own).stdout


def memory(folder: str, events: int) -> list[Measure]:
    """Of the SQL alone, over the log of so many events in the folder."""
    seconds, before, most = json.loads(call("computed", folder, str(SLATES), events=events).splitlines()[-1])
    what = f"SQL of {events:,} events"
    return [
        Measure(f"{what}: all statistics of the last {SLATES:,} requests", seconds, "s"),
        Measure(f"{what}: memory of the process before", before / GIB, "GiB"),
        Measure(f"{what}: largest memory", most / GIB, "GiB"),
    ]


def differing(ours: Columns, theirs: Columns) -> int:
    """Values that differ: whole numbers at all, others by more than 1e-9."""
    count = 0
    for name, expected in theirs.items():
        known = expected[np.isfinite(expected)]
        whole = np.array_equal(known, np.round(known))
        same = np.isclose(ours[name], expected, rtol=0.0 if whole else 1e-9, atol=0.0, equal_nan=True)
        if not same.all():
            print(f"{name}: {ours[name][~same][:3]}, batch form {expected[~same][:3]}", flush=True)
        count += int((~same).sum())
    return count


def main() -> None:
    statistics = tuple(statistic for statistic in STATISTICS if statistic.point_in_time())
    took: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        data, log, deliveries = logged(folder, np.random.default_rng(SEED))
        data = replace(data, feedback=log.feedback(), slates=log.slates())
        things, backfill = Catalogue.of(data), ClickhouseBackfill(log.connection)
        requests = rows_of_requests(data, data.slates, things)
        start = time.perf_counter()
        theirs = of_events(data)(things, requests, statistics)
        took["the batch form"] = time.perf_counter() - start
        start, ours = time.perf_counter(), dict[str, np.ndarray]()
        backfill.put_dataset(data, data.slates)
        for statistic in statistics:
            ours |= backfill.columns(statistic, things, data.slates, requests)
        took["SQL"] = time.perf_counter() - start
        log.close()
        memories = memory(folder, EVENTS)
    with tempfile.TemporaryDirectory() as folder:
        call("written", folder, events=LARGER * EVENTS)
        memories += memory(folder, LARGER * EVENTS)
    measures = [
        Measure("events accepted, late and in another order than their times", len(data.feedback), "events"),
        Measure("repeated deliveries of them", deliveries - len(data.feedback), "events"),
        Measure("statistics that SQL computes", len(statistics), "statistics"),
        Measure("values of past requests compared with the batch form", sum(map(np.size, theirs.values())), "values"),
        Measure("of them that differ in ClickHouse", differing(ours, theirs), "values", "<= 0"),
        *(Measure(f"all statistics of {SLATES:,} requests: {form}", seconds, "s") for form, seconds in took.items()),
        Measure("SQL over the batch form", took["SQL"] / took["the batch form"], ""),
        *memories,
    ]
    if "EVENTS" in os.environ:
        print_table("point_in_time", measures)
        return
    what = f"{EVENTS:,} events of {USERS_ALL:,} shoppers, {SLATES:,} slates of {SHOWN} of {ITEMS_ALL:,} items"
    record("point_in_time", measures, data=what, seed=SEED)


if __name__ == "__main__":
    main()
