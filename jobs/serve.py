"""Start the HTTP service on a run's bundle: gunicorn, one worker a core (`serving.worker`).

One process to whoever supervises it: SIGTERM, SIGHUP and SIGINT let gunicorn answer what it has begun and end; its exit
code is passed on; gunicorn ends with this process however that dies.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from types import FrameType

import requests

from evaluation.experiments.experiment_folder import EXPERIMENTS
from jobs.child_process import end_with_parent, restarted
from jobs.on_demand import started_on_demand
from marketplace.sqlite_file import PRIVATE
from marketplace.sqlite_log import SqliteLog
from serving.gunicorn_settings import graceful_timeout
from serving.manifest import bundle_of

READY_SECONDS = 120  # a service that is not ready by then is taken for broken


class ServiceFailed(ValueError):
    """The service cannot start, stopped, or did not become ready: says why, or holds what it printed."""


def serve(
    folder: Path,
    *,
    host: str,
    port: int,
    workers: int,
    log: Path | None,
    kafka: str | None = None,
    prefix: str = "",
    features: str | None = None,
    gathered: bool = False,
    tf_serving: str | None = None,
) -> int:
    """Serve until a signal, or until gunicorn ends: its exit code, 128 + n where signal n killed it.

    Users' and items' memories live in the Redis at `features`, None = in each process; `gathered` = the machines that
    share it send their logs to `kafka`, and where these come together it is taught. The TF-Serving at `tf_serving`
    scores, None = each process does. The log is sent to `kafka`, topics with `prefix`, by a process beside gunicorn.
    Raises ServiceFailed for an address in use, SchemaError for a log that cannot be opened.
    """
    log = log or folder / "log.sqlite"
    check_address(host, port)
    log.parent.mkdir(parents=True, exist_ok=True)
    SqliteLog(log).close()
    with (
        tempfile.TemporaryDirectory(prefix="value-model-metrics-") as metrics,
        _sent(log, kafka, prefix),
        started_on_demand(desk_command(folder, log)) as desk,
    ):
        settings = environment(
            folder, log, metrics, features=features, gathered=gathered, desk=desk, tf_serving=tf_serving
        )
        process = subprocess.Popen(command(host, port, workers), env=settings, preexec_fn=end_with_parent)

        def drain(number: int, frame: FrameType | None) -> None:
            process.terminate()

        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, drain)
        code = process.wait()
    with suppress(ValueError):  # what is wrong with the log was said; gunicorn's code is what counts
        SqliteLog(log).close()  # the last connection: whatever is in the WAL goes into the file
    return code if code >= 0 else 128 - code


@contextmanager
def running(
    folder: Path, *, log: Path, port: int | None = None, workers: int = 1, features: str | None = None
) -> Iterator[str]:
    """The address of a service that is ready, and stopped when the block ends; what it prints goes to service.log."""
    port = port or free_port()
    printed = folder / "service.log"
    printed.unlink(missing_ok=True)
    printed.touch(PRIVATE)
    with (
        tempfile.TemporaryDirectory(prefix="value-model-metrics-") as metrics,
        started_on_demand(desk_command(folder, log)) as desk,
        printed.open("w") as out,
    ):
        settings = environment(folder, log, metrics, features=features, desk=desk)
        process = subprocess.Popen(command("127.0.0.1", port, workers), env=settings, stdout=out, stderr=out)
        try:
            address = f"http://127.0.0.1:{port}"
            _wait(process, address, printed)
            yield address
        finally:
            process.terminate()
            process.wait(timeout=graceful_timeout + 10)


def command(host: str, port: int, workers: int) -> list[str]:
    gunicorn = [sys.executable, "-m", "gunicorn", "-c", "python:serving.gunicorn_settings", "jobs.service:create()"]
    return [*gunicorn, "--bind", f"{host}:{port}", "--workers", str(workers)]


def desk_command(folder: Path, log: Path) -> list[str]:
    """The process beside the service that does what is slow of the console."""
    return [sys.executable, "-m", "jobs.console_desk", str(folder), str(log)]


def environment(
    folder: Path,
    log: Path,
    metrics: str,
    *,
    features: str | None = None,
    gathered: bool = False,
    desk: Path | None = None,
    tf_serving: str | None = None,
) -> Mapping[str, str]:
    """The service's settings, as docs/operations.md lists them; one thread a worker."""
    bundle = bundle_of(folder)
    elsewhere = {"VALUE_MODEL_FEATURES": features, "VALUE_MODEL_DESK": desk, "VALUE_MODEL_TF_SERVING": tf_serving}
    elsewhere["VALUE_MODEL_GATHERED"] = "1" if gathered else None
    return (
        os.environ
        | {name: str(place) for name, place in elsewhere.items() if place is not None}
        | {
            "VALUE_MODEL_BUNDLE": str(bundle),
            "VALUE_MODEL_LOG": str(log),
            "VALUE_MODEL_EXPERIMENTS": str(folder / EXPERIMENTS),
            "PROMETHEUS_MULTIPROC_DIR": metrics,
            "OMP_NUM_THREADS": "1",
        }
    )


def _sent(log: Path, kafka: str | None, prefix: str) -> AbstractContextManager[None]:
    """While the block runs, the log is sent to Kafka; raises ValueError for what names no brokers."""
    if kafka is None:
        return nullcontext()
    from marketplace.kafka.client import Brokers

    Brokers.of(kafka)
    program = [sys.executable, "-c", "from jobs.cli import main; main()"]
    return restarted([*program, "produce", str(log), "--kafka", kafka, "--prefix", prefix])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def check_address(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ServiceFailed(
                f"{host}:{port} cannot be bound: {error.strerror}. Stop what listens there, or give --host or --port."
            ) from error


def _wait(process: subprocess.Popen[bytes], address: str, printed: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            answer = requests.get(f"{address}/readyz", timeout=5)
            if answer.status_code == 200:
                return
            if answer.json().get("reload_problem"):
                break
        except (requests.RequestException, ValueError):
            pass  # not listening yet, slow on a busy machine, or no JSON: the next poll tells
        time.sleep(0.2)
    raise ServiceFailed(f"the service did not become ready; it printed:\n{printed.read_text()[-3000:]}")
