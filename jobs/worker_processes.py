"""Processes of this machine that fit a network together, each told its place among them by TF_CONFIG."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Sequence

from jobs.child_process import end_with_parent
from jobs.run_folder import RunFolderError

CHECKED_EVERY = 0.2  # seconds


def run_workers(command: Sequence[str], count: int) -> None:
    """Run the command `count` times until all have ended; RunFolderError where one failed, and the others are ended."""
    addresses = [f"localhost:{port}" for port in _free_ports(count)]
    threads = {"TF_NUM_INTRAOP_THREADS": str(max((os.cpu_count() or 1) // count, 1))}
    processes = []
    for number in range(count):
        place = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": number}}
        environment = threads | dict(os.environ) | {"TF_CONFIG": json.dumps(place)}
        processes.append(subprocess.Popen(command, env=environment, preexec_fn=end_with_parent))
    try:
        while None in (codes := [one.poll() for one in processes]) and not any(codes):
            time.sleep(CHECKED_EVERY)
        failed = [f"{number} (exit {code})" for number, code in enumerate(codes) if code]
    finally:
        for one in processes:
            one.kill()
            one.wait()
    if failed:
        raise RunFolderError(f"of {count} workers failed: {', '.join(failed)}. What they said is above.")


def _free_ports(count: int) -> list[int]:
    """Ports of this machine on which nothing listens."""
    sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports
