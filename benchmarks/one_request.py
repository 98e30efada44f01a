"""Where does one request's time go, and what does the engine cost beside the bare model and the bare index search?

500 candidates of 100 k items, models of realistic size with random weights, the real engine on an exported bundle
with a SQLite log, on one core. Every request is followed by its bare twins, so that all see the same machine:
the whole ranker as one ONNX graph on this request's packed inputs, and one search of the index for 500 items.

Times are CPU time of the process, which one request keeps busy from beginning to end: unlike wall time, they do not
depend on what else the machine does. Wall times of the whole stand beside them.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from onnxruntime import InferenceSession

from benchmarks.record import Measure, record
from marketplace.slate import Slate
from marketplace.sqlite_log import SqliteLog
from serving.bundle import build_engine, load_bundle
from serving.engine import RankingEngine
from serving.onnx_scorer import session
from serving.request import Request

SEED = 1
WARM, MEASURED = 300, 700


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "bundle"
        # TensorFlow stays in the process that exports, as it does in production.
        subprocess.run([sys.executable, "-m", "benchmarks.serving_bundle", str(bundle), str(SEED)], check=True)
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        measures = measured(bundle, Path(folder))
    record("one_request", measures, data="simulated market, 100 k items, untrained models", seed=SEED)


def measured(folder: Path, home: Path) -> list[Measure]:
    bundle = load_bundle(folder)
    built = build_engine(bundle, log=SqliteLog(home / "log.sqlite"))
    engine = RankingEngine(built.parts, store=built.store, log=built.log, clock=time.process_time)
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
        wall = time.perf_counter()
        whole_engine, slate = timed(lambda request=request: engine.rank(request))
        wall = time.perf_counter() - wall
        row = {f"stage {stage}": value for stage, value in engine.seconds.items()}
        row |= {"whole engine": whole_engine, "whole engine, wall": wall} | bare(engine, whole, request, slate)
        if number >= WARM:
            for name, value in row.items():
                seconds.setdefault(name, []).append(value)
    return table(seconds, candidates=len(slate))


def bare(engine: RankingEngine, whole: InferenceSession, request: Request, slate: Slate) -> dict[str, float]:
    """Seconds of the model call and the index search alone, for the same request."""
    rows = engine.parts.shelf.rows(slate.item_id)
    inputs = engine.store.known(request, rows).inputs(engine.parts.encoder, engine.parts.shelf.encoded)
    feed = {given.name: getattr(inputs, given.name) for given in whole.get_inputs()}
    query = engine.parts.finder.embed(inputs)[None]
    return {
        "bare model, whole graph": timed(lambda: whole.run(None, feed))[0],
        "bare model, item parts kept": timed(lambda: engine.parts.scorer.score(inputs, items=rows))[0],
        "bare index search": timed(lambda: engine.parts.finder.index.search(query, k=len(rows)))[0],
    }


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    result = call()
    return time.process_time() - start, result


def table(seconds: dict[str, list[float]], *, candidates: int) -> list[Measure]:
    measures = [Measure("candidates", candidates, "items")]
    for name, values in seconds.items():
        for share in (50, 99):
            measures.append(Measure(f"{name}, p{share}", 1e3 * float(np.percentile(values, share)), "ms"))
    engine, search = (np.array(seconds[name]) for name in ("whole engine", "bare index search"))
    for name, bar in (("bare model, whole graph", "<= 1.5"), ("bare model, item parts kept", None)):
        measures.append(ratio(engine, np.array(seconds[name]) + search, name=f"engine / ({name} + search)", bar=bar))
    logging = engine - np.array(seconds["stage slate"]) - np.array(seconds["stage log"])
    bare = np.array(seconds["bare model, whole graph"]) + search
    return [*measures, ratio(logging, bare, name="the same without building and logging the slate", bar=None)]


def ratio(above: np.ndarray, below: np.ndarray, *, name: str, bar: str | None) -> Measure:
    """Ratio of the medians; the interval is a bootstrap over requests."""
    rng = np.random.default_rng(0)
    draws = rng.integers(0, len(above), (1000, len(above)))
    ratios = np.median(above[draws], axis=1) / np.median(below[draws], axis=1)
    low, high = np.percentile(ratios, [2.5, 97.5])
    return Measure(name, float(np.median(above) / np.median(below)), "x", bar, (float(low), float(high)))


if __name__ == "__main__":
    main()
