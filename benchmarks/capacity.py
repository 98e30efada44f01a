"""Capacity arithmetic of docs/cluster.md: what a load takes, from what the result files say of one core and one record.

A load is users, predictions a day (a candidate scored by all heads) and assumptions that are no measurement: candidates
and places a request, the busiest second over the mean, and what share of a core may be used. Every other figure is read
from benchmarks/results; `lines` names file and measure of each.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from math import ceil
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
DAY = 86_400


@dataclass(frozen=True)
class Load:
    """What is to be served, and what is assumed."""

    users: float = 1e6
    predictions: float = 1e8  # a day
    candidates: int = 500  # scored a request
    kept: int = 50  # items of a slate on record
    shown: int = 15  # items of a slate that shoppers see
    events: float = 10.0  # of feedback a request, impressions among them
    peak: float = 4.0  # busiest second / mean second
    used: float = 0.6  # share of a core that is planned with

    @property
    def requests(self) -> float:
        """A day."""
        return self.predictions / self.candidates

    @property
    def busiest(self) -> float:
        """Requests a second."""
        return self.peak * self.requests / DAY


LOADS = (Load(), Load(users=1e8, predictions=1e10))


@dataclass(frozen=True)
class ResultMeasure:
    """A measure of a result file."""

    file: str
    measure: str

    @property
    def value(self) -> float:
        rows = _measures(self.file)
        if self.measure not in rows:
            raise KeyError(f"benchmarks/results/{self.file}.json has no measure {self.measure!r}")
        return rows[self.measure]

    def __str__(self) -> str:
        return f"{self.file}: {self.measure} = {self.value:.4g}"


@cache
def _measures(file: str) -> dict[str, float]:
    result = json.loads((RESULTS / f"{file}.json").read_text())
    return {row["name"]: row["value"] for row in result["measures"]}


ANSWERED = ResultMeasure("overload", "overload: answered")  # in OVERLOADED seconds, by one worker on one core
OVERLOADED = 60.0
WORKER_MB = ResultMeasure("worker", "onnx worker, memory after requests, median of 3")
SLATE_BYTES = ResultMeasure("log", "bytes a slate")
APPENDED = ResultMeasure("log", "slates a second of 3 writer processes")
PRODUCED = ResultMeasure("kafka", "slates produced, median")
CONSUMED = ResultMeasure("kafka", "slates consumed into an SQLite log, median")
LOADED = ResultMeasure("clickhouse", "slate-items in 2 CPU seconds, from SQLite")
ITEM_BYTES = ResultMeasure("clickhouse", "bytes an item on disk")
ANALYSED = ResultMeasure("clickhouse", "slate-items analysed")
ANALYSIS = ResultMeasure("clickhouse", "expected clicks of items shown, by day and surface: CPU")
TRAINED = ResultMeasure("whole_run", "impressions")
TRAINING = ResultMeasure("whole_run", "whole run: time")
TRAINING_GIB = ResultMeasure("whole_run", "ranker: peak memory")


@dataclass(frozen=True)
class Need:
    """One row: what a load takes of something, in words, as a number, and what it is computed from."""

    what: str
    unit: str
    value: float
    arithmetic: str
    sources: tuple[ResultMeasure, ...] = ()


def needs(load: Load) -> Iterator[Need]:
    """Every row for one load."""
    yield Need("requests", "a day", load.requests, "predictions / candidates a request")
    yield Need("requests, busiest", "a second", load.busiest, "peak x requests / 86,400")
    rate = ANSWERED.value / OVERLOADED
    workers = ceil(load.busiest / (rate * load.used))
    text = "busiest / (answers of one worker a second x share of a core used)"
    yield Need("service: workers, one core each", "", workers, text, (ANSWERED,))
    yield Need("service: memory", "GiB", workers * WORKER_MB.value / 1024, "workers x memory of one", (WORKER_MB,))
    yield Need(
        "log on the machines",
        "GB a day",
        load.requests * SLATE_BYTES.value / 1e9,
        "requests x bytes a slate",
        (SLATE_BYTES,),
    )
    files = ceil(load.busiest / (APPENDED.value * load.used))
    yield Need("log: SQLite files", "", files, "busiest / (slates a second into one x share used)", (APPENDED,))
    for role, one in (("producers", PRODUCED), ("consumers", CONSUMED)):
        processes = ceil(load.busiest / (one.value * load.used))
        yield Need(f"Kafka: {role}", "", processes, "busiest / (slates a second through one x share used)", (one,))
    stored = load.requests * load.kept * ITEM_BYTES.value
    yield Need("ClickHouse: disk", "GB a day", stored / 1e9, "requests x items kept x bytes an item", (ITEM_BYTES,))
    loading = load.requests * load.kept / (LOADED.value / 2)
    yield Need(
        "ClickHouse: loading", "core-hours a day", loading / 3600, "slate-items / slate-items a CPU second", (LOADED,)
    )
    days = 30 * load.requests * load.kept / ANALYSED.value * ANALYSIS.value
    text = "30 days of slate-items x CPU of a pass over those analysed"
    yield Need("ClickHouse: a month analysed", "core-minutes", days / 60, text, (ANALYSED, ANALYSIS))
    passes = load.requests * load.shown / TRAINED.value
    text = "impressions of a day x time of a run on two cores"
    yield Need("training on one day", "hours of 2 cores", passes * TRAINING.value / 3600, text, (TRAINED, TRAINING))
    text = "impressions of a day x memory of a run"
    yield Need("training on one day: memory", "GiB", passes * TRAINING_GIB.value, text, (TRAINED, TRAINING_GIB))


def lines(loads: Sequence[Load] = LOADS) -> list[str]:
    """The Markdown table: a row a need, a column a load, and what it is computed from."""
    heads = [f"{load.users:,.0f} users, {load.predictions:,.0f} predictions a day" for load in loads]
    rows = ["| what | " + " | ".join(heads) + " | from |", "|" + "---|" * (len(loads) + 2)]
    for several in zip(*(needs(load) for load in loads), strict=True):
        first = several[0]
        cells = " | ".join(f"{_figure(one.value)} {one.unit}".strip() for one in several)
        measured = "; ".join(map(str, first.sources))
        rows.append(f"| {first.what} | {cells} | {first.arithmetic}{f' ({measured})' if measured else ''} |")
    return rows


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.2g}"
