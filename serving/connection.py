"""Connection: one client's socket, which is never waited for, and the one request of it that is being answered."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from functools import cached_property
from http.client import responses
from typing import Any

from gunicorn.http.message import Request

from serving.deadline import HEADER, Deadline, milliseconds
from serving.problems import CONTENT_TYPE, RETRY_AFTER, problem
from serving.request import BadRequest
from serving.request_reader import RequestReader

PIECE = 64 << 10  # bytes read at once


class Connection:
    """`since`: when it began what it does now. `closing`: it is closed after the answer that is being sent."""

    def __init__(self, client: socket.socket, peer: Any, server: Any, reader: RequestReader) -> None:
        self.socket, self.peer, self.server, self.reader = client, peer, server, reader
        self.exchange: Exchange | None = None
        self.outgoing = memoryview(b"")
        self.closing = self.lingering = False
        self.since = time.monotonic()

    @property
    def busy(self) -> bool:
        """Whether an answer is being made or sent."""
        return self.exchange is not None or len(self.outgoing) > 0

    def receive(self) -> bytes | None:
        """What the client has sent; None = nothing now, empty = it has closed its end."""
        try:
            return self.socket.recv(PIECE)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:
            return b""

    def next_exchange(self) -> Exchange | None:
        """The next whole request, None = there is none; raises Unacceptable."""
        request = self.reader.next_request()
        if request is not None:
            self.exchange = Exchange(request, self)
        return self.exchange

    def write(self, answer: bytes | bytearray) -> None:
        """Send what the socket takes now; `flush` sends the rest."""
        self.outgoing = memoryview(answer)
        self.flush()

    def flush(self) -> bool:
        """Whether all is sent; an answer to a client that has gone is dropped."""
        try:
            while len(self.outgoing):
                self.outgoing = self.outgoing[self.socket.send(self.outgoing) :]
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            self.outgoing, self.closing = memoryview(b""), True
        return True


class Exchange:
    """One whole request, and its answer in memory; to gunicorn's writer it is the socket."""

    def __init__(self, request: Request, connection: Connection) -> None:
        self.request, self.connection, self.arrived = request, connection, time.monotonic()
        self.gone = False  # the client has closed its end
        self.output = bytearray()

    @property
    def route(self) -> str:
        return str(self.request.path)

    @cached_property
    def headers(self) -> dict[str, str]:
        """By name in small letters."""
        return {name.lower(): value for name, value in self.request.headers}

    @cached_property
    def deadline(self) -> Deadline:
        """Infinite where the header cannot be read, which the route refuses."""
        try:
            wait = milliseconds(self.headers.get(HEADER.lower())) / 1000
        except BadRequest:
            wait = float("inf")
        return Deadline(self.arrived + wait, gone=lambda: self.gone)

    def sendall(self, data: bytes) -> None:
        self.output += data


def refusal(status: int, detail: str, *, ids: Mapping[str, str], close: bool) -> bytes:
    """A whole HTTP answer: problem details."""
    body = problem(status, detail)
    headers = {"Content-Type": CONTENT_TYPE, "Content-Length": str(len(body)), **ids}
    headers |= {"Retry-After": RETRY_AFTER} if status == 503 else {}
    headers["Connection"] = "close" if close else "keep-alive"
    first = f"HTTP/1.1 {status} {responses.get(status, 'Refused')}"
    return "\r\n".join([first, *(f"{name}: {value}" for name, value in headers.items()), "", ""]).encode() + body
