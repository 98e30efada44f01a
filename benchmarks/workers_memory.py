"""What does a second worker cost in memory beside the first, and what after the bundle has changed?

A bundle of the demo market (`make demo`) is served by one worker, then by two: 200 home pages each, then a wait until
the parent process, which loaded the bundle for its forks, has let go of it. Counted are all processes of the service:
the proportional set size (PSS) divides a page among those that share it, so that sums are what the machine spends.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from pathlib import Path

import psutil
import requests

from benchmarks.record import Measure, record, skip
from jobs.serve import running
from serving.manifest import point_current
from serving.service import FRESH

RUN, PAGES, SETTLED = Path("runs/demo-simulated"), 200, 10.0  # seconds beyond what is waited for


def main() -> None:
    if not (RUN / "bundle").exists():
        skip("workers_memory", f"{RUN} is not there; make it with `make demo`")
    with tempfile.TemporaryDirectory() as folder:
        spent = {workers: memory(Path(folder) / str(workers), workers=workers) for workers in (1, 2)}
    (alone, alone_changed), (both, both_changed) = spent[1], spent[2]
    second, second_changed = both - alone, both_changed - alone_changed
    measures = [
        Measure("one worker, all processes", alone, "MiB"),
        Measure("two workers, all processes", both, "MiB"),
        Measure("the second worker", second, "MiB"),
        Measure("the second / the first", second / alone, "share", "<= 0.3"),
        Measure("after a change of the bundle: one worker", alone_changed, "MiB"),
        Measure("after a change of the bundle: two workers", both_changed, "MiB"),
        Measure("after a change of the bundle: the second / the first", second_changed / alone_changed, "share"),
    ]
    record("workers_memory", measures, data=f"the demo market, {PAGES} home pages", seed=None)


def memory(home: Path, *, workers: int) -> tuple[float, float]:
    """MiB of the service's processes together, and the same once another bundle serves."""
    for number in (1, 2):
        shutil.copytree(RUN / "bundle", home / "bundles" / str(number))
    point_current(home / "bundle", home / "bundles" / "1")
    os.environ["VALUE_MODEL_SHARE_MEMORY"] = "1"
    with running(home, log=home / "log.sqlite", workers=workers) as address:
        (gunicorn,) = [child for child in psutil.Process().children() if "gunicorn" in " ".join(child.cmdline())]
        visit(address)
        time.sleep(FRESH + SETTLED)
        before = proportional(gunicorn)
        point_current(home / "bundle", home / "bundles" / "2")
        visit(address)
        time.sleep(2 * SETTLED)
        visit(address)
        return before, proportional(gunicorn)


def visit(address: str) -> None:
    for number in range(PAGES):
        body = {"surface": "home", "user_id": f"u{number}", "k": 20}
        requests.post(f"{address}/v1/recommend", json=body, timeout=30).raise_for_status()


def proportional(process: psutil.Process) -> float:
    """MiB of a process and its children: the sum of their proportional set sizes."""
    rollups = (Path(f"/proc/{one.pid}/smaps_rollup").read_text() for one in (process, *process.children()))
    return sum(int(re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)[1]) for text in rollups) / 1024  # type: ignore[index]


if __name__ == "__main__":
    main()
