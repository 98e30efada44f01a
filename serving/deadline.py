"""Deadline: until when an answer is of use to whoever waits for it, and whether anybody still does."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from serving.request import BadRequest

HEADER = "X-Timeout-Ms"  # what a caller sends: how long it waits from the time that it sent the request
ENVIRON = "value_model.deadline"  # where a server that knows when the request arrived, and who has gone, puts it
LONGEST = 600_000  # milliseconds


class ClientGone(ConnectionError):
    """Nobody waits for the answer any more; nothing of it was put on record."""


@dataclass(frozen=True)
class Deadline:
    """`time` is one of the monotonic clock, in seconds."""

    time: float = float("inf")
    gone: Callable[[], bool] = lambda: False

    def left(self) -> float:
        """Seconds until it."""
        return self.time - time.monotonic()

    def check(self) -> None:
        """Raise ClientGone."""
        if self.gone():
            raise ClientGone("the caller closed the connection before it was answered")


NO_DEADLINE = Deadline()


def milliseconds(header: str | None) -> float:
    """Of the header's text, infinite where it was not sent; raises BadRequest."""
    if header is None:
        return float("inf")
    if not (header.isascii() and header.isdigit() and 1 <= int(header[:9]) <= LONGEST):
        raise BadRequest(f"header {HEADER}", f"{header[:40]!r} was received; send 1 to {LONGEST} milliseconds")
    return float(header)
