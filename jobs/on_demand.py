"""Processes that are started by the first call to their socket, and again by the next one after they have ended."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from jobs.child_process import RESTART_SECONDS, end_with_parent

LOOK_SECONDS = 0.2
BACKLOG = 32


@contextmanager
def started_on_demand(command: Sequence[str]) -> Iterator[Path]:
    """The Unix socket that `command` answers, its number as the last argument; private to this user."""
    with tempfile.TemporaryDirectory(prefix="value-model-") as folder, socket.socket(socket.AF_UNIX) as listener:
        place, ended = Path(folder) / "socket", threading.Event()
        listener.bind(str(place))
        listener.listen(BACKLOG)
        thread = threading.Thread(target=_start_again, args=(command, listener, ended), name="on demand")
        thread.start()
        try:
            yield place
        finally:
            ended.set()
            thread.join()


def _start_again(command: Sequence[str], listener: socket.socket, ended: threading.Event) -> None:
    while not ended.is_set():
        called, _, _ = select.select([listener], [], [], LOOK_SECONDS)
        if not called:
            continue
        number, began = listener.fileno(), time.monotonic()
        process = subprocess.Popen(
            [*command, str(number)],
            pass_fds=[number],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            preexec_fn=end_with_parent,
        )
        while process.poll() is None and not ended.wait(LOOK_SECONDS):
            pass
        if process.poll() is None:
            process.terminate()
        process.wait()
        if time.monotonic() - began < RESTART_SECONDS:
            ended.wait(RESTART_SECONDS)
