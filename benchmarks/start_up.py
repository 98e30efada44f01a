"""Does a worker start as soon on a log of 200,000 slates as on an empty one?

The engine of the demo market's bundle (`make demo`) is built in a process of its own: on an empty log, on one of
200,000 slates that no worker has read, and on the same once a worker has kept its store checkpoint. Seconds are those
of `build_engine` with `load_bundle`, without the interpreter's start and imports.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np

from benchmarks.record import Measure, record, skip
from marketplace.memory_log import MemoryLog
from marketplace.sqlite_log import SqliteLog
from serving.bundle import build_engine, load_bundle
from serving.request import Request
from serving.store_checkpoint import StoreCheckpoint

RUN, SLATES, TIMES = Path("runs/demo-simulated"), 200_000, 5


def main() -> None:
    if not RUN.exists():
        skip("start_up", f"there is no {RUN}; `make demo` makes it")
    bundle = (RUN / "bundle").resolve()
    with tempfile.TemporaryDirectory() as folder:
        empty, full = Path(folder) / "empty.sqlite", Path(folder) / "full.sqlite"
        fill(full, bundle)
        first = seconds(full, bundle)  # reads the log, and keeps the checkpoint
        measures = rows(
            [seconds(empty, bundle) for _ in range(TIMES)],
            [seconds(full, bundle) for _ in range(TIMES)],
            first,
        )
    record("start_up", measures, data=f"the demo market, a log of {SLATES:,} slates of 10 items", seed=None)


def rows(empty: list[float], full: list[float], first: float) -> list[Measure]:
    base, kept = float(np.median(empty)), float(np.median(full))
    return [
        Measure("an empty log", base, "s"),
        Measure("200,000 slates, with the checkpoint", kept, "s"),
        Measure("200,000 slates / an empty log", kept / base, "x", "<= 1.2"),
        Measure("200,000 slates, read for the first time", first, "s"),
    ]


def fill(path: Path, bundle: Path) -> None:
    """One slate, again and again: of another shopper each time, a second later."""
    loaded, log = load_bundle(bundle), SqliteLog(path)
    engine, users = build_engine(loaded, log=MemoryLog()), loaded.catalogue.users["user_id"].to_pylist()
    request = Request(request_id="first", time=engine.parts.known_until, surface="home", user_id="u1", k=10)
    shown = tuple(engine.rank(request).slate.item_id[:10])
    slate = engine.rank(replace(request, request_id="second", candidates=shown)).slate
    for number in range(SLATES):
        moment = slate.time + timedelta(seconds=number + 1)
        log.append(replace(slate, request_id=str(number), time=moment, user_id=users[number % len(users)]))
    log.close()


def seconds(path: Path, bundle: Path) -> float:
    """Until the engine is ready, in a process of its own, which keeps what it learned."""
    command = [sys.executable, "-m", "benchmarks.start_up", str(path), str(bundle)]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def start(path: Path, folder: Path) -> None:
    begin = time.perf_counter()
    bundle = load_bundle(folder)
    engine = build_engine(bundle, log=SqliteLog(path), checkpoint=StoreCheckpoint(path, bundle=bundle.store_version))
    print(time.perf_counter() - begin)
    engine.close()


if __name__ == "__main__":
    if len(sys.argv) == 3:
        start(Path(sys.argv[1]), Path(sys.argv[2]))
    else:
        main()
