"""Does the SQL of every statistic, in ClickHouse, give the batch form's numbers of a million events, and how soon?

The events of `feature_backends`: late, in another order than their times, some twice. Of each of the 20,000 slates
among them every column of every statistic is computed as of its time, by SQL and by the batch form, whole numbers
equal, others to 1e-9. Less is tried with EVENTS=50000.
"""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.feature_backends import EVENTS, ITEMS_ALL, SEED, SHOWN, SLATES, USERS_ALL, catalogue, market
from benchmarks.record import Measure, print_table, record
from features.backends.clickhouse_backfill import ClickhouseBackfill
from features.backfill import of_events, rows_of_requests
from features.catalogue import Catalogue
from features.statistics import STATISTICS
from features.statistics.statistic import Columns
from marketplace.clickhouse.clickhouse_log import ClickhouseLog

BATCH = 100_000  # events of one append


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
    rng = np.random.default_rng(SEED)
    data = catalogue(rng)
    feedback, slates = market(rng)
    statistics = tuple(statistic for statistic in STATISTICS if statistic.point_in_time())
    took: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        log = ClickhouseLog(f"chdb://{Path(folder)}")
        for first in range(0, len(feedback), BATCH):
            log.append_feedback(feedback.slice(first, BATCH))
        log.append_slates(slates)
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
    measures = [
        Measure("events accepted, late and in another order than their times", len(data.feedback), "events"),
        Measure("repeated deliveries of them", len(feedback) - len(data.feedback), "events"),
        Measure("statistics that SQL computes", len(statistics), "statistics"),
        Measure("values of past requests compared with the batch form", sum(map(np.size, theirs.values())), "values"),
        Measure("of them that differ in ClickHouse", differing(ours, theirs), "values", "<= 0"),
        *(Measure(f"all statistics of {SLATES:,} requests: {form}", seconds, "s") for form, seconds in took.items()),
        Measure("SQL over the batch form", took["SQL"] / took["the batch form"], ""),
    ]
    if "EVENTS" in os.environ:
        print_table("point_in_time", measures)
        return
    what = f"{EVENTS:,} events of {USERS_ALL:,} shoppers, {SLATES:,} slates of {SHOWN} of {ITEMS_ALL:,} items"
    record("point_in_time", measures, data=what, seed=SEED)


if __name__ == "__main__":
    main()
