"""Start the HTTP service on a run's bundle: gunicorn, one synchronous worker a core."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import requests

READY_SECONDS = 120  # a service that is not ready by then is taken for broken


class ServiceFailed(ValueError):
    """The service stopped, or did not become ready: holds what it printed."""


def serve(folder: Path, *, host: str, port: int, workers: int, log: Path | None) -> None:
    """Serve until interrupted."""
    with tempfile.TemporaryDirectory(prefix="value-model-metrics-") as metrics:
        settings = environment(folder, log or folder / "log.sqlite", metrics)
        process = subprocess.Popen(command(host, port, workers), env=settings)
        try:
            process.wait()
        except KeyboardInterrupt:
            process.terminate()
            process.wait()


@contextmanager
def running(folder: Path, *, log: Path, port: int | None = None) -> Iterator[str]:
    """The address of a service that is ready, and stopped when the block ends; what it prints goes to service.log."""
    port = port or free_port()
    printed = folder / "service.log"
    with tempfile.TemporaryDirectory(prefix="value-model-metrics-") as metrics, printed.open("w") as out:
        settings = environment(folder, log, metrics)
        process = subprocess.Popen(command("127.0.0.1", port, 1), env=settings, stdout=out, stderr=out)
        try:
            address = f"http://127.0.0.1:{port}"
            _wait(process, address, printed)
            yield address
        finally:
            process.terminate()
            process.wait(timeout=30)


def command(host: str, port: int, workers: int) -> list[str]:
    gunicorn = [sys.executable, "-m", "gunicorn", "serving.wsgi:create()"]
    return [*gunicorn, "--bind", f"{host}:{port}", "--workers", str(workers)]


def environment(folder: Path, log: Path, metrics: str) -> Mapping[str, str]:
    """The service's settings, as docs/operations.md lists them; one thread a worker."""
    bundle = folder / "bundle" if (folder / "bundle").exists() else folder
    return os.environ | {
        "VALUE_MODEL_BUNDLE": str(bundle),
        "VALUE_MODEL_LOG": str(log),
        "PROMETHEUS_MULTIPROC_DIR": metrics,
        "OMP_NUM_THREADS": "1",
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(process: subprocess.Popen[bytes], address: str, printed: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            answer = requests.get(f"{address}/readyz", timeout=5)
            if answer.status_code == 200:
                return
            if answer.json().get("reload_problem"):
                break
        except requests.ConnectionError:
            pass
        time.sleep(0.2)
    raise ServiceFailed(f"the service did not become ready; it printed:\n{printed.read_text()[-3000:]}")
