"""What does a second worker cost in memory beside the first, and what after the bundle has changed?

A bundle of the demo market (`make demo`) is served by one worker, then by two: 400 home pages, four at a time so that
each worker answers its share (the lesser's share of their CPU time says so), then a wait until
the parent process, which loaded the bundle for its forks, has let go of it. Counted are all processes of the service:
the proportional set size (PSS) divides a page among those that share it, so that sums are what the machine spends.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from benchmarks.record import Measure, record, skip
from jobs.serve import running
from serving.client import Client, ClientSettings, RecommendRequest, RetryPolicy
from serving.manifest import point_current
from serving.service import FRESH

RUN, PAGES, AT_ONCE, SETTLED = Path("runs/demo-simulated"), 400, 4, 10.0  # seconds beyond what is waited for
PATIENT = ClientSettings(timeout=60.0, retry=RetryPolicy(attempts=50))


def main() -> None:
    if not (RUN / "bundle").exists():
        skip("workers_memory", f"{RUN} is not there; make it with `make demo`")
    with tempfile.TemporaryDirectory() as folder:
        spent = {workers: memory(Path(folder) / str(workers), workers=workers) for workers in (1, 2)}
    (alone, alone_changed, _), (both, both_changed, lesser) = spent[1], spent[2]
    second, second_changed = both - alone, both_changed - alone_changed
    measures = [
        Measure("one worker, all processes", alone, "MiB"),
        Measure("two workers, all processes", both, "MiB"),
        Measure("the lesser worker's part of the CPU time of both", lesser, "share", ">= 0.25"),
        Measure("the second worker", second, "MiB"),
        Measure("the second / the first", second / alone, "share", "<= 0.3"),
        Measure("after a change of the bundle: one worker", alone_changed, "MiB"),
        Measure("after a change of the bundle: two workers", both_changed, "MiB"),
        Measure("after a change of the bundle: the second / the first", second_changed / alone_changed, "share"),
    ]
    record("workers_memory", measures, data=f"the demo market, {PAGES} home pages", seed=None)


def memory(home: Path, *, workers: int) -> tuple[float, float, float]:
    """MiB of the service's processes together, the same once another bundle serves, the least part of a worker."""
    for number in (1, 2):
        shutil.copytree(RUN / "bundle", home / "bundles" / str(number))
    point_current(home / "bundle", home / "bundles" / "1")
    os.environ["VALUE_MODEL_SHARE_MEMORY"] = "1"
    with running(home, log=home / "log.sqlite", workers=workers) as address:
        (gunicorn,) = [child for child in psutil.Process().children() if "gunicorn" in " ".join(child.cmdline())]
        visit(address)
        time.sleep(FRESH + SETTLED)
        before, lesser = proportional(gunicorn), least_part(gunicorn)
        point_current(home / "bundle", home / "bundles" / "2")
        visit(address)
        time.sleep(2 * SETTLED)
        visit(address)
        return before, proportional(gunicorn), lesser


def visit(address: str) -> None:
    with Client(address, PATIENT) as service, ThreadPoolExecutor(AT_ONCE) as shoppers:
        pages = (RecommendRequest(surface="home", user_id=f"u{number}", k=20) for number in range(PAGES))
        list(shoppers.map(service.recommend, pages))


def least_part(process: psutil.Process) -> float:
    """Of the CPU seconds of the service's workers, the share of the one that had the fewest."""
    seconds = [child.cpu_times().user for child in process.children()]
    return min(seconds) / sum(seconds)


def proportional(process: psutil.Process) -> float:
    """MiB of a process and its children: the sum of their proportional set sizes."""
    rollups = (Path(f"/proc/{one.pid}/smaps_rollup").read_text() for one in (process, *process.children()))
    return sum(int(re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)[1]) for text in rollups) / 1024  # type: ignore[index]


if __name__ == "__main__":
    main()
