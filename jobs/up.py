"""Everything that a market needs, in one process group: the service, its trainer, and who watches its log.

Each part is a process of a `value-model` command, started again when it ends; all end with this one, however it dies.
What they know lies in the run's folder and its log, so that they go on after `kill -9`.
"""

from __future__ import annotations

import fcntl
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import requests

from jobs.child_process import RESTART_SECONDS, end_with_parent
from jobs.serve import ServiceFailed, check_address
from marketplace.sqlite_log import SqliteLog
from serving.gunicorn_settings import graceful_timeout

PROGRAM = (sys.executable, "-c", "from jobs.cli import main; main()")
LOOK_SECONDS = 0.2
PROBE_SECONDS = 1.0
YOUNG_SECONDS = 10.0  # one that ends before it is so old waits twice as long before it is started again
LONGEST_WAIT = 60.0
USELESS = 2  # the exit code of what will not do better the next time: wrong settings, an address in use


@dataclass
class KeptProcess:
    """A process that is started again when it ends."""

    name: str
    command: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    wait: float = RESTART_SECONDS
    _since: float = field(default=-float("inf"))

    def start(self, lock: int) -> None:
        """`lock`: a file that is locked for as long as any part lives."""
        self.process = subprocess.Popen(self.command, preexec_fn=end_with_parent, pass_fds=(lock,))
        self._since = time.monotonic()
        say(self.name, f"started, process {self.process.pid}")

    def look(self, lock: int) -> int | None:
        """Start it where it is time; its exit code where it has just ended."""
        if self.process is None:
            if time.monotonic() - self._since >= self.wait:
                self.start(lock)
            return None
        code = self.process.poll()
        if code is not None:
            self.process = None
            young = time.monotonic() - self._since < YOUNG_SECONDS
            self.wait = min(2 * self.wait, LONGEST_WAIT) if young else RESTART_SECONDS
            self._since = time.monotonic()
            say(self.name, f"ended with {code}" + ("" if code == USELESS else f"; again in {self.wait:.0f} s"))
        return code

    def stop(self) -> None:
        """Let it end what it has begun."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(timeout=graceful_timeout + 10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        say(self.name, "stopped")


def up(home: Path, parts: Mapping[str, Sequence[str]], *, host: str, port: int, log: Path) -> int:
    """Run the commands of `parts` by name until SIGTERM, SIGINT or SIGHUP (0), or until one can never do its work (2).

    Raises ServiceFailed for an address in use, or a folder that is up already; SchemaError for a log that cannot be
    opened.
    """
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    with _alone(home, stopping) as lock:
        check_address(host, port)
        SqliteLog(log).close()
        running = [KeptProcess(name, [*PROGRAM, *command]) for name, command in parts.items()]
        threading.Thread(target=_say_what_serves, args=(host, port, stopping), daemon=True).start()
        try:
            for part in running:
                part.start(lock)
            return _kept_up(running, stopping, lock)
        finally:
            stopping.set()
            for part in reversed(running):
                part.stop()


def _kept_up(running: Sequence[KeptProcess], stopping: threading.Event, lock: int) -> int:
    while not stopping.wait(LOOK_SECONDS):
        if USELESS in [part.look(lock) for part in running]:
            return USELESS
    return 0


def _say_what_serves(host: str, port: int, stopping: threading.Event) -> None:
    """One line whenever /readyz says something new."""
    address, before = f"http://{'127.0.0.1' if host in ('0.0.0.0', '::') else host}:{port}", ""
    while not stopping.wait(PROBE_SECONDS):
        try:
            answer = requests.get(f"{address}/readyz", timeout=5).json()
        except (requests.RequestException, ValueError):
            continue  # not listening yet, or slow on a busy machine
        problem = answer.get("reload_problem") or answer.get("log_problem")
        now = f"ready at {address}, bundle {answer['bundle']}" if answer.get("ready") else "not ready"
        now += f"; {problem}" if problem else ""
        if now != before:
            say("service", now)
            before = now


def say(name: str, state: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {name}: {state}", flush=True)


@contextmanager
def _alone(home: Path, stopping: threading.Event) -> Iterator[int]:
    """The file that is locked while any part of the folder lives; those of one that was killed are waited for."""
    with (home / ".up.lock").open("a") as lock:
        deadline = time.monotonic() + graceful_timeout + 10
        waiting = False
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not waiting:
                    say("up", "waits for the processes of one before to end")
                waiting = True
                if time.monotonic() > deadline or stopping.wait(LOOK_SECONDS):
                    raise ServiceFailed(f"{home} is up already: end that one first.") from None
        yield lock.fileno()
