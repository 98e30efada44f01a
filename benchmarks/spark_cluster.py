"""A standalone cluster of Spark on this machine, for benchmarks and tests."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyspark

from jobs.serve import free_port

SECONDS = 60


@contextmanager
def spark_cluster(folder: Path, *, workers: int, memory: str = "2g") -> Iterator[str]:
    """The master's address, once so many workers of one core have joined; what they print is in `folder`."""
    home, ports = Path(pyspark.__file__).parent, [free_port() for _ in range(2 + workers)]
    own = {
        "SPARK_HOME": str(home),
        "PYSPARK_PYTHON": sys.executable,
        "SPARK_WORKER_DIR": str(folder),
    }
    address, printed = f"spark://127.0.0.1:{ports[0]}", folder / "master.txt"
    of_master = ["--host", "127.0.0.1", "--port", str(ports[0]), "--webui-port", str(ports[1])]
    of_worker = ["--host", "127.0.0.1", "--cores", "1", "--memory", memory]
    commands = [("master.Master", of_master)]
    commands += [("worker.Worker", [*of_worker, "--webui-port", str(port), address]) for port in ports[2:]]
    running = []
    try:
        for number, (name, options) in enumerate(commands):
            with (printed if number == 0 else folder / f"worker{number}.txt").open("wb") as out:
                command = [str(home / "bin" / "spark-class"), f"org.apache.spark.deploy.{name}", *options]
                running.append(subprocess.Popen(command, stdout=out, stderr=out, env=os.environ | own))
            wait_for("New state: ALIVE" if number == 0 else "Registering worker", printed, times=max(1, number))
        yield address
    finally:
        for process in reversed(running):
            process.terminate()
        for process in running:
            process.wait(timeout=20)


def wait_for(words: str, printed: Path, *, times: int) -> None:
    deadline = time.monotonic() + SECONDS
    while printed.read_text().count(words) < times:
        if time.monotonic() > deadline:
            raise RuntimeError(f"Spark did not start: {printed.read_text()[-2000:]}")
        time.sleep(0.1)
