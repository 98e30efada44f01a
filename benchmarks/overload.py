"""What does a service do with ten times what it can answer, with clients that leave, and with clients that hold on?

A run of the demo market (`make demo`) is copied and served by one worker on loopback. Its clients are one process of
their own: asyncio, on another core where there are two. First one client at a time (the unloaded service), then 1,000
idle connections and 50 that send a byte a second beside it, then for a minute ten times as many requests a second as
were answered one after another, whoever waits longer than two seconds leaving; then one at a time again until an answer
is as quick as before.

Before the service had a worker of its own (sync workers of gunicorn, the same load): of 30,647 requests 418 were
answered and none refused, 9,064 slates were logged for clients that had left, two clients that sent a byte a second
stopped the service, and recovery took 72 s.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.record import Measure, record, skip
from jobs.serve import running
from marketplace.sqlite_log import SqliteLog

RUN = Path("runs/demo-simulated")
WARM, ONE_BY_ONE, LOAD, SECONDS = 50, 400, 10, 60
IDLE, SLOW, PATIENCE = 1000, 50, 2.0
SLOW_REQUEST = (
    b"POST /v1/recommend HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n"
)


@dataclass(frozen=True)
class Reply:
    """Of one request; status 0 = the client left, or could not connect."""

    name: str
    status: int
    seconds: float


class Clients:
    """Callers on kept connections, each of one request at a time."""

    def __init__(self, port: int) -> None:
        self.port, self.free = port, []

    async def ask(self, name: str, path: str = "/v1/recommend") -> Reply:
        body = json.dumps({"surface": "home", "user_id": f"u{hash(name) % 500}", "request_id": name, "k": 50}).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        sent = head.encode() + body if path == "/v1/recommend" else f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        start = time.perf_counter()
        writer = None
        try:
            async with asyncio.timeout(PATIENCE):
                reader, writer = self.free.pop() if self.free else await self.connect()
                writer.write(sent)
                answer = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(answer.split(b"content-length:")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            if writer is not None:
                writer.close()
            return Reply(name, 0, time.perf_counter() - start)
        if b"connection: close" in answer:
            writer.close()
        else:
            self.free.append((reader, writer))
        return Reply(name, int(answer[9:12]), time.perf_counter() - start)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def one_by_one(self, prefix: str, requests: int) -> list[Reply]:
        return [await self.ask(f"{prefix} {number}") for number in range(requests)]

    async def at_rate(self, prefix: str, rate: float) -> tuple[list[Reply], list[Reply]]:
        """Requests at equal intervals for SECONDS, whatever comes of them; and probes of /healthz, ten a second."""
        start, tasks, probes = time.perf_counter(), [], []
        for number in range(int(rate * SECONDS)):
            await asyncio.sleep(start + number / rate - time.perf_counter())
            tasks.append(asyncio.create_task(self.ask(f"{prefix} {number}")))
            if number % max(int(rate / 10), 1) == 0:
                probes.append(asyncio.create_task(self.ask("health", "/healthz")))
        return list(await asyncio.gather(*tasks)), list(await asyncio.gather(*probes))

    async def slowly(self) -> None:
        """A request, a byte a second, begun again when the service has enough of it."""
        while True:
            with suppress(OSError):
                _, writer = await self.connect()
                for byte in SLOW_REQUEST * 2:
                    writer.write(bytes([byte]))
                    await writer.drain()
                    await asyncio.sleep(1)


async def loaded(port: int) -> dict[str, object]:
    """Everything that the clients saw."""
    clients = Clients(port)
    await clients.one_by_one("warm", WARM)
    unloaded = await clients.one_by_one("unloaded", ONE_BY_ONE)
    idle = [await clients.connect() for _ in range(IDLE)]
    slow = [asyncio.create_task(clients.slowly()) for _ in range(SLOW)]
    await asyncio.sleep(2)
    beside = await clients.one_by_one("beside", ONE_BY_ONE)
    for task in slow:
        task.cancel()
    for _, writer in idle:
        writer.close()
    rate = LOAD / float(np.mean([reply.seconds for reply in unloaded]))
    overload, health = await clients.at_rate("overload", rate)
    ended, quick = time.perf_counter(), 2 * float(np.percentile([reply.seconds for reply in unloaded], 99))
    attempts = 0
    while (reply := await clients.ask(f"after {attempts}")).status != 200 or reply.seconds > quick:
        attempts += 1
    recovery = time.perf_counter() - ended
    replies = {"unloaded": unloaded, "beside": beside, "overload": overload, "health": health}
    seen = {name: [[one.name, one.status, one.seconds] for one in some] for name, some in replies.items()}
    return {"rate": rate, "recovery": recovery, **seen}


def main() -> None:
    if not RUN.exists():
        skip("overload", f"there is no {RUN}; `make demo` makes it")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "run"
        shutil.copytree(RUN, home, symlinks=True)
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[0]})
        with running(home, log=home / "overload.sqlite") as address:
            port = address.rsplit(":", 1)[1]
            command = [sys.executable, "-m", "benchmarks.overload", port, str(cores[-1])]
            seen = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        logged = set(SqliteLog(home / "overload.sqlite").slates()["request_id"].to_pylist())
    record(
        "overload", table(seen, logged), data="the demo market, one worker, 50 items of some 420 candidates", seed=None
    )


def table(seen: dict, logged: set[str]) -> list[Measure]:
    unloaded, beside, overload, health = (
        [Reply(*row) for row in seen[name]] for name in ("unloaded", "beside", "overload", "health")
    )
    served = [reply for reply in overload if reply.status == 200]
    refused = [reply for reply in overload if reply.status == 503]
    left = [reply for reply in overload if reply.status == 0]
    other = len(overload) - len(served) - len(refused) - len(left)
    alone = percentiles(unloaded, 50, 99)
    busy, away, held = percentiles(served, 50, 99), percentiles(refused, 50, 99), percentiles(beside, 50, 99)
    missing = sum(reply.name not in logged for reply in [*unloaded, *beside, *served])
    return [
        Measure("one client at a time, p50", alone[0], "ms"),
        Measure("one client at a time, p99", alone[1], "ms"),
        Measure(f"beside {IDLE} idle and {SLOW} slow connections, p50", held[0], "ms", f"<= {1.5 * alone[0]:.3g}"),
        Measure(f"beside {IDLE} idle and {SLOW} slow connections, p99", held[1], "ms"),
        Measure(
            f"beside {IDLE} idle and {SLOW} slow connections, not answered",
            sum(reply.status != 200 for reply in beside),
            "requests",
            "<= 0",
        ),
        Measure(f"overload for {SECONDS} s: requests", len(overload), "requests"),
        Measure("overload: a second", seen["rate"], "requests"),
        Measure("overload: answered", len(served), "requests"),
        Measure("overload: answered / those one after another", len(served) * LOAD / len(overload), "x", ">= 0.7"),
        Measure("overload: refused", len(refused), "requests"),
        Measure("overload: left after 2 s", len(left), "requests", "<= 0"),
        Measure("overload: any other answer", other, "requests", "<= 0"),
        Measure("overload: refused within, p50", away[0], "ms", "<= 5"),
        Measure("overload: refused within, p99", away[1], "ms", "<= 5"),
        Measure("overload: answered within, p50", busy[0], "ms"),
        Measure("overload: answered within, p99", busy[1], "ms"),
        Measure("overload: answered within, p99 / one client's", busy[1] / alone[1], "x", "<= 2"),
        Measure("overload: /healthz within, p99", percentiles(health, 99)[0], "ms"),
        Measure("overload: /healthz not answered", sum(reply.status != 200 for reply in health), "probes", "<= 0"),
        Measure("slates logged for clients that had left", sum(r.name in logged for r in left), "slates", "<= 0"),
        Measure("slates answered and not logged", missing, "slates", "<= 0"),
        Measure("recovery: an answer as quick as 2 x one client's p99", seen["recovery"], "s", "<= 2"),
    ]


def percentiles(replies: list[Reply], *shares: int) -> list[float]:
    """Milliseconds; NaN of none."""
    seconds = [reply.seconds for reply in replies] or [float("nan")]
    return [1e3 * float(np.percentile(seconds, share)) for share in shares]


if __name__ == "__main__":
    if len(sys.argv) == 3:  # the process of the clients: port, core
        os.sched_setaffinity(0, {int(sys.argv[2])})
        print(json.dumps(asyncio.run(loaded(int(sys.argv[1])))))
    else:
        main()
