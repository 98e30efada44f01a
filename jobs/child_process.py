"""Child processes that end with their parent, however that dies."""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

PR_SET_PDEATHSIG = 1  # Linux: the signal that a child gets when its parent dies
RESTART_SECONDS = 2.0


def end_with_parent() -> None:
    """In the child, before its program: ask to be ended when the parent dies, even of SIGKILL (Linux alone can)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@contextmanager
def restarted(command: Sequence[str]) -> Iterator[None]:
    """Run `command` beside the block: again RESTART_SECONDS after it ended, until SIGTERM at the end of the block."""
    ended = threading.Event()

    def run() -> None:
        while not ended.is_set():
            process = subprocess.Popen(command, preexec_fn=end_with_parent)
            while process.poll() is None and not ended.wait(0.1):
                pass
            if process.poll() is None:
                process.terminate()
            process.wait()
            ended.wait(RESTART_SECONDS)

    thread = threading.Thread(target=run, name=command[-1])
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
