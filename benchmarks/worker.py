"""How long until a service worker is ready, and how much memory does it take, beside the same worker on TensorFlow?

Each worker is a process of its own that loads the 100 k item bundle, builds the engine and answers 50 requests: once
with the ONNX scorer, once with the SavedModel in TensorFlow. Ready = imports, checked bundle, engine and the Flask
application, without gunicorn around it. The ONNX worker keeps item parts as requests come, the other keeps none, so
their memory grows differently. CPU seconds do not depend on what else the machine does; memory is what the process
alone holds (unique set size).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

from benchmarks.record import Measure, record

SEED, REPEATS, REQUESTS = 1, 3, 50


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "bundle"
        subprocess.run([sys.executable, "-m", "benchmarks.serving_bundle", str(bundle), str(SEED)], check=True)
        runs = {kind: [_run(bundle, kind) for _ in range(REPEATS)] for kind in ("onnx", "tensorflow")}
    measures = []
    for kind, rows in runs.items():
        for name, unit in (("wall", "s"), ("cpu", "s"), ("memory when ready", "MB"), ("memory after requests", "MB")):
            values = sorted(row[name] for row in rows)
            label = f"{kind} worker, {name if 'memory' in name else 'time to ready, ' + name}"
            # So few repeats give a range and no 95 % interval, so the extremes are measures of their own.
            named = {"median": values[len(values) // 2], "least": values[0], "greatest": values[-1]}
            measures += [Measure(f"{label}, {which} of {REPEATS}", value, unit) for which, value in named.items()]
    record("worker", measures, data="simulated market, 100 k items, untrained models", seed=SEED)


def _run(bundle: Path, kind: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.worker", kind, str(bundle)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(answer.stdout.splitlines()[-1])


def worker(kind: str, folder: Path) -> None:
    """Become the worker, and print its measures as JSON."""
    started, used = time.perf_counter(), time.process_time()
    from marketplace.memory_log import MemoryLog
    from serving.app import create_app
    from serving.bundle import build_engine, load_bundle
    from serving.request import Request

    bundle = load_bundle(folder)
    scorer = None
    if kind == "tensorflow":
        from serving.tensorflow_scorer import TensorFlowScorer

        scorer = TensorFlowScorer(bundle.savedmodel)
    engine = build_engine(bundle, log=MemoryLog(), scorer=scorer)
    create_app(engine)
    measures = {"wall": time.perf_counter() - started, "cpu": time.process_time() - used}
    measures["memory when ready"] = _memory()
    for number in range(REQUESTS):
        moment = engine.parts.known_until + timedelta(seconds=number)
        engine.rank(Request(request_id=str(number), time=moment, surface="home", user_id=f"u{number}"))
    print(json.dumps(measures | {"memory after requests": _memory()}))


def _memory() -> float:
    import psutil

    return psutil.Process().memory_full_info().uss / 1e6


if __name__ == "__main__":
    if len(sys.argv) > 1:
        worker(sys.argv[1], Path(sys.argv[2]))
    else:
        main()
