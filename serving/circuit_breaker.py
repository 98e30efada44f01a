"""Circuit breaker: what failed several times in a row is left alone for a while, and then tried once.

    closed --failures in a row--> open for `rest` seconds --> half open: the next one tries it
    half open --holds--> closed            half open --fails--> open for twice as long, at most `longest`

M. Nygard: Release It! (2007), chapter 5.
"""

from __future__ import annotations

import time
from collections.abc import Callable

FAILURES, REST, LONGEST_REST = 3, 1.0, 30.0  # in a row; seconds; seconds


class CircuitBreaker:
    """Of one thing that may fail; `clock` in seconds."""

    def __init__(
        self,
        *,
        failures: int = FAILURES,
        rest: float = REST,
        longest: float = LONGEST_REST,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most, self._shortest, self._longest, self._clock = failures, rest, longest, clock
        self._failures, self._rest, self._open_until = 0, rest, -float("inf")

    @property
    def open(self) -> bool:
        """Whether to leave it alone now."""
        return self._clock() < self._open_until

    def hold(self) -> bool:
        """It did not fail; whether that closed the breaker."""
        closed = self._failures >= self._most
        self._failures, self._rest, self._open_until = 0, self._shortest, -float("inf")
        return closed

    def fail(self) -> bool:
        """It failed; whether that opened the breaker, which was closed before."""
        self._failures += 1
        if self._failures < self._most:
            return False
        self._open_until = self._clock() + self._rest
        self._rest = min(2 * self._rest, self._longest)
        return self._failures == self._most
