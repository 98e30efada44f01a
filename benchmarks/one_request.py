"""Where does one request's time go, and what do engine and HTTP cost beside the bare model and the bare index search?

500 candidates of 100 k items, models of realistic size with random weights, the real engine on an exported bundle
with a SQLite log, on one core. Every request is followed by its bare twins, so that all see the same machine:
the whole ranker as one ONNX graph on this request's packed inputs, and one search of the index for 500 items.

Stages are in CPU time of the process, which one request keeps busy from beginning to end: unlike wall time, it does
not count the waits for a core that other programs hold. The whole and its bare twins are measured in both, and the bar
is held against both ratios. Requests over HTTP, 50 of 500 shown, go one after another from one client on a kept
connection to one worker of the service on the same core; a bare model call follows each.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
from onnxruntime import InferenceSession

from benchmarks.record import Measure, record
from features.spec import ModelInputs
from jobs.serve import running
from marketplace.memory_log import MemoryLog
from marketplace.simulator.words import CATEGORIES
from marketplace.sqlite_log import SqliteLog
from retrieval.candidates import Candidates
from serving.bundle import build_engine, load_bundle
from serving.candidate_generation import CandidateGenerator
from serving.engine import RankingEngine
from serving.onnx_scorer import session
from serving.request import Request

SEED = 1
WARM, MEASURED = 300, 700
SEARCH = "whole engine, a search"
QUERIES = [
    f"{word} {suffix}".strip() for c in CATEGORIES for word in (c.english, c.arabic) for suffix in ("", "noor", "قمر")
]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "bundle"
        # TensorFlow stays in the process that exports, as it does in production.
        subprocess.run([sys.executable, "-m", "benchmarks.serving_bundle", str(bundle), str(SEED)], check=True)
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        measures = measured(bundle, Path(folder)) + over_http(bundle, Path(folder))
    record("one_request", measures, data="simulated market, 100 k items, untrained models", seed=SEED)


def measured(folder: Path, home: Path) -> list[Measure]:
    bundle = load_bundle(folder)
    built = build_engine(bundle, log=SqliteLog(home / "log.sqlite"))
    noted = Noted(built.parts.candidate_generator)
    parts = replace(built.parts, candidate_generator=noted)
    engine = RankingEngine(
        parts,
        store=built.store,
        log=built.log,
        live=built.live,
        experiments=built.experiments,
        clock=time.process_time,
    )
    whole = session(folder.with_name("whole.onnx"))
    rng, users = np.random.default_rng(SEED), bundle.catalogue.users["user_id"].to_pylist()
    seconds: dict[str, list[float]] = {}
    gc.freeze()
    for number in range(WARM + MEASURED):
        request = Request(
            request_id=str(number),
            time=engine.parts.known_until + timedelta(seconds=number),
            surface="home",
            user_id=users[rng.integers(len(users))],
            context={"country": "SA", "device": "app"},
        )
        ranking, spent = timed(lambda request=request: engine.rank(request), name="whole engine")
        row = {f"stage {stage}, cpu": value for stage, value in ranking.seconds.items()}
        row |= spent | bare(engine, whole, request, noted.rows)
        searched = replace(
            request, request_id=f"search {number}", surface="search", query=QUERIES[number % len(QUERIES)]
        )
        _, spent = timed(lambda request=searched: engine.rank(request), name=SEARCH)
        row |= spent | {f"{SEARCH}, {name}": value for name, value in bare(engine, whole, searched, noted.rows).items()}
        if number >= WARM:
            for name, value in row.items():
                seconds.setdefault(name, []).append(value)
    return table(seconds, candidates=len(noted.rows))


def over_http(folder: Path, home: Path) -> list[Measure]:
    """A request over HTTP beside the bare model call, both by the wall clock."""
    bundle, whole = load_bundle(folder), session(folder.with_name("whole.onnx"))
    engine, users = build_engine(bundle, log=MemoryLog()), bundle.catalogue.users["user_id"].to_pylist()
    request = Request(request_id="bare", time=engine.parts.known_until, surface="home", user_id=users[0])
    feed = feed_of(engine, whole, request, np.arange(engine.parts.config.candidates, dtype=np.int32))
    rng, rows = np.random.default_rng(SEED), []
    with running(folder.parent, log=home / "http.sqlite") as address:
        connection = HTTPConnection(address.removeprefix("http://"))
        for number in range(WARM + MEASURED):
            time_sent = (engine.parts.known_until + timedelta(seconds=number)).isoformat()
            body = {"surface": "home", "user_id": users[rng.integers(len(users))], "k": 50, "time": time_sent}
            (status, _), spent = timed(lambda body=body: posted(connection, body), name="http")
            assert status == 200, status
            rows.append((spent["http, wall"], timed(lambda: whole.run(None, feed), name="bare")[1]["bare, wall"]))
    http, bare_ = np.array(rows[WARM:]).T
    measures = []
    for share, bar in ((50, "<= 1.25"), (99, "<= 1.6")):
        above, below = (float(np.percentile(column, share)) for column in (http, bare_))
        measures.append(Measure(f"HTTP request, wall, p{share}", 1e3 * above, "ms"))
        measures.append(Measure(f"bare model beside it, wall, p{share}", 1e3 * below, "ms"))
        measures.append(Measure(f"HTTP request / bare model, whole graph, p{share}", above / below, "x", bar))
    return measures


def posted(connection: HTTPConnection, body: dict[str, Any]) -> tuple[int, bytes]:
    """Status and content of POST /v1/recommend."""
    connection.request("POST", "/v1/recommend", json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    return answer.status, answer.read()


def feed_of(
    engine: RankingEngine, whole: InferenceSession, request: Request, rows: np.ndarray
) -> dict[str, np.ndarray]:
    """What the unsplit graph takes, of a request and its candidates."""
    inputs = engine.store.lookup(request, rows).inputs(engine.parts.encoder, engine.parts.item_table.encoded)
    return {tensor.name: getattr(inputs, tensor.name) for tensor in whole.get_inputs()}


class Noted(CandidateGenerator):
    """A candidate generator that keeps the rows of its last candidates."""

    def __init__(self, inner: CandidateGenerator) -> None:
        self._inner, self.index, self.rows = inner, inner.index, np.empty(0, np.int32)

    def embed(self, user_inputs: ModelInputs) -> np.ndarray | None:
        return self._inner.embed(user_inputs)

    def generate(self, *args: Any, **settings: Any) -> Candidates:
        candidates = self._inner.generate(*args, **settings)
        self.rows = candidates.items
        return candidates


def bare(engine: RankingEngine, whole: InferenceSession, request: Request, rows: np.ndarray) -> dict[str, float]:
    """Seconds of the model call and the index search alone, for the same request and candidates."""
    inputs = engine.store.lookup(request, rows).inputs(engine.parts.encoder, engine.parts.item_table.encoded)
    feed = {tensor.name: getattr(inputs, tensor.name) for tensor in whole.get_inputs()}
    query = engine.parts.candidate_generator.embed(inputs)[None]
    calls = {
        "bare model, whole graph": lambda: whole.run(None, feed),
        "bare model, item parts kept": lambda: engine.parts.scorer.score(inputs, items=rows),
        "bare index search": lambda: engine.parts.candidate_generator.index.search(query, k=len(rows)),
    }
    return {clock: value for name, call in calls.items() for clock, value in timed(call, name=name)[1].items()}


def timed(call: Callable[[], Any], *, name: str) -> tuple[Any, dict[str, float]]:
    """What `call` returns, and its seconds by both clocks."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = call()
    return result, {f"{name}, cpu": time.process_time() - cpu, f"{name}, wall": time.perf_counter() - wall}


def table(seconds: dict[str, list[float]], *, candidates: int) -> list[Measure]:
    measures = [Measure("candidates", candidates, "items")]
    for name, values in seconds.items():
        for share in (50, 99):
            measures.append(Measure(f"{name}, p{share}", 1e3 * float(np.percentile(values, share)), "ms"))
    columns = {name: np.array(values) for name, values in seconds.items()}
    for clock in ("cpu", "wall"):
        engine, search = columns[f"whole engine, {clock}"], columns[f"bare index search, {clock}"]
        for model, bar in (("bare model, whole graph", "<= 1.2"), ("bare model, item parts kept", None)):
            name = f"engine / ({model} + search), {clock}"
            measures.append(ratio(engine, columns[f"{model}, {clock}"] + search, name=name, bar=bar))
        twins = (
            columns[f"{SEARCH}, bare model, whole graph, {clock}"] + columns[f"{SEARCH}, bare index search, {clock}"]
        )
        name = f"{SEARCH}: engine / (bare model, whole graph + search), {clock}"
        measures.append(ratio(columns[f"{SEARCH}, {clock}"], twins, name=name, bar="<= 1.6"))
    unlogged = columns["whole engine, cpu"] - columns["stage slate, cpu"] - columns["stage log, cpu"]
    bare_ = columns["bare model, whole graph, cpu"] + columns["bare index search, cpu"]
    name = "engine without building and logging the slate / (bare model, whole graph + search), cpu"
    return [*measures, ratio(unlogged, bare_, name=name, bar=None)]


def ratio(above: np.ndarray, below: np.ndarray, *, name: str, bar: str | None) -> Measure:
    """Ratio of the medians; the interval is a bootstrap over requests."""
    rng = np.random.default_rng(0)
    draws = rng.integers(0, len(above), (1000, len(above)))
    ratios = np.median(above[draws], axis=1) / np.median(below[draws], axis=1)
    low, high = np.percentile(ratios, [2.5, 97.5])
    return Measure(name, float(np.median(above) / np.median(below)), "x", bar, (float(low), float(high)))


if __name__ == "__main__":
    main()
