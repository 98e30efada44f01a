"""How long does a request take, from the client and back, on a catalogue of a million items?

The whole path: HTTP on a kept connection from one client to one worker, 500 candidates of the market's sources and a
search of the ScaNN index, models of realistic size with random weights, 50 items shown, the slate acknowledged by a
SQLite log on disk. Service and client share one core. What that core is worth stands beside it, measured before every
tenth request: a Python loop of 100,000 additions, and the product of two 256 x 256 matrices.
"""

from __future__ import annotations

import os

# Before NumPy reads it: one core is what a worker has.
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq

from benchmarks.one_request import MEASURED, SEED, WARM, posted, timed
from benchmarks.record import Measure, record
from jobs.serve import running
from serving.manifest import MANIFEST, read_manifest

NAME = "million_items"
ITEMS, SHOWN, EVERY = 1_000_000, 50, 10
EXPORT = "import sys, pathlib; from benchmarks.serving_bundle import export_untrained; "
EXPORT += f"export_untrained(pathlib.Path(sys.argv[1]), seed={SEED}, items={ITEMS})"
BARS = {50: "<= 8", 99: "<= 20"}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        # TensorFlow stays in the process that exports, as it does in production.
        subprocess.run([sys.executable, "-c", EXPORT, str(home / "bundle")], check=True)
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        measures = list(measured(home))
    record(NAME, measures, data=f"simulated market, {ITEMS:,} items, untrained models", seed=SEED)


def measured(home: Path) -> Iterator[Measure]:
    users = pq.read_table(home / "bundle" / "catalogue" / "users.parquet")["user_id"].to_pylist()
    start = datetime.fromisoformat(str(read_manifest(home / "bundle" / MANIFEST).facts["known_until"]))
    rng, seconds, loop, product = np.random.default_rng(SEED), [], [], []
    square = rng.random((256, 256))
    with running(home, log=home / "log.sqlite") as address:
        connection = HTTPConnection(address.removeprefix("http://"))
        for number in range(WARM + MEASURED):
            if number % EVERY == 0:
                loop.append(timed(lambda: additions(100_000), name="")[1][", wall"])
                product.append(timed(lambda: square @ square, name="")[1][", wall"])
            time_sent = (start + timedelta(seconds=number)).isoformat()
            body = {"surface": "home", "user_id": users[rng.integers(len(users))], "k": SHOWN, "time": time_sent}
            (status, _), spent = timed(lambda body=body: posted(connection, body), name="http")
            assert status == 200, status
            seconds.append(spent["http, wall"])
        service = [process for process in psutil.Process().children(recursive=True) if process.is_running()]
        memory = sum(process.memory_full_info().uss for process in service)
    for share, bar in BARS.items():
        yield Measure(f"HTTP request, p{share}", 1e3 * float(np.percentile(seconds[WARM:], share)), "ms", bar)
    yield Measure("beside it: a loop of 100,000 additions, p50", 1e3 * float(np.median(loop)), "ms")
    yield Measure("beside it: a product of 256 x 256, p50", 1e3 * float(np.median(product)), "ms")
    yield Measure("memory of the service's processes alone (unique set size)", memory / 2**30, "GiB")


def additions(times: int) -> int:
    """A Python loop."""
    total = 0
    for number in range(times):
        total += number
    return total


if __name__ == "__main__":
    main()
