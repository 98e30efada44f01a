"""Does a worker's memory stay flat while its bundle changes a hundred times, and is every request answered meanwhile?

A run of the demo market (`make demo`) is copied and served by one worker; the link is moved between two copies of its
bundle as soon as the worker has changed over, and home pages are asked for all the time.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import requests

from benchmarks.record import Measure, record, skip
from jobs.serve import running
from serving.manifest import point_current

RUN, SWAPS, BEGUN, SPAN = Path("runs/demo-simulated"), 100, 10, 20  # memory of single changes swings: medians of SPAN
PATIENCE = 60.0  # seconds for one change


class PageReader(threading.Thread):
    """Asks for a home page every 50 ms; keeps status and seconds of each."""

    def __init__(self, address: str) -> None:
        super().__init__(daemon=True)
        self._address, self.answers, self.ends = address, [], threading.Event()

    def run(self) -> None:
        session = requests.Session()
        while not self.ends.wait(0.05):
            start = time.perf_counter()
            answer = session.post(f"{self._address}/v1/recommend", json={"surface": "home", "user_id": "u1", "k": 20})
            self.answers.append((answer.status_code, time.perf_counter() - start))


def main() -> None:
    if not RUN.exists():
        skip("bundle_swaps", f"there is no {RUN}; `make demo` makes it")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "run"
        shutil.copytree(RUN, home, symlinks=True)
        bundles = [home / "bundles" / f"copy {number}" for number in range(2)]
        for bundle in bundles:
            shutil.copytree(home / "bundle", bundle)
        with running(home, log=home / "swaps.sqlite") as address:
            memory, answers = swapped(home, bundles, address)
    record("bundle_swaps", table(memory, answers), data="the demo market, one worker, a request every 50 ms", seed=None)


def swapped(home: Path, bundles: list[Path], address: str) -> tuple[list[float], list[tuple[int, float]]]:
    """MiB of the worker before, and after each change; status and seconds of the answers."""
    (gunicorn,) = [child for child in psutil.Process().children() if "gunicorn" in " ".join(child.cmdline())]
    (worker,) = gunicorn.children()
    shopper, memory = PageReader(address), [mebibytes(worker)]
    shopper.start()
    for number in range(SWAPS):
        point_current(home / "bundle", bundles[number % 2])
        until = time.monotonic() + PATIENCE
        while (home / "service.log").read_text().count("serving bundle") < number + 2 and time.monotonic() < until:
            time.sleep(0.1)
        time.sleep(0.5)  # what the bundle before held is given back after the change
        memory.append(mebibytes(worker))
    shopper.ends.set()
    shopper.join()
    return memory, shopper.answers


def mebibytes(process: psutil.Process) -> float:
    return process.memory_info().rss / 2**20


def table(memory: list[float], answers: list[tuple[int, float]]) -> list[Measure]:
    seconds = 1e3 * np.array([spent for _, spent in answers])
    early, last = float(np.median(memory[BEGUN : BEGUN + SPAN])), float(np.median(memory[-SPAN:]))
    return [
        Measure("memory before", memory[0], "MiB"),
        Measure(f"memory after {BEGUN} to {BEGUN + SPAN} changes, median", early, "MiB"),
        Measure(f"memory after the last {SPAN} of {SWAPS}, median", last, "MiB"),
        Measure("the last over the first of them", last / early, "x", "<= 1.05"),
        Measure("answers", len(answers), "answers"),
        Measure("not answered", sum(status != 200 for status, _ in answers), "answers", "<= 0"),
        Measure("answered within, p50", float(np.percentile(seconds, 50)), "ms"),
        Measure("answered within, p99", float(np.percentile(seconds, 99)), "ms"),
    ]


if __name__ == "__main__":
    main()
