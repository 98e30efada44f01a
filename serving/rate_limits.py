"""Rate limits: a token bucket a key and worker.

tokens(t) = min(burst, tokens(t0) + rate x (t - t0)),  a request takes one; without one it waits (1 - tokens) / rate
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class RateLimit:
    """`rate` requests a second, and a `burst` of them at once."""

    rate: float
    burst: int


class RateExceeded(RuntimeError):
    """The bucket of a name is empty for so many seconds."""

    def __init__(self, name: str, limit: RateLimit, *, seconds: float) -> None:
        holder = f"the key {name!r}" if name else "whoever has no key"
        super().__init__(
            f"{holder} may ask {limit.rate:g} times a second, and {limit.burst} at once; try again in {seconds:.2f} s"
        )
        self.seconds = seconds

    @property
    def retry_after(self) -> str:
        """Whole seconds, for the header."""
        return str(math.ceil(self.seconds))


class TokenBucket:
    """Full at first; safe to share between threads."""

    def __init__(self, limit: RateLimit, *, now: float) -> None:
        self.limit = limit
        self._tokens, self._since, self._lock = float(limit.burst), now, threading.Lock()

    def take(self, *, now: float) -> float:
        """Seconds until there is a token; 0 = one is taken."""
        with self._lock:
            grown = self._tokens + self.limit.rate * (now - self._since)
            self._tokens, self._since = min(float(self.limit.burst), grown), now
            if self._tokens >= 1:
                self._tokens -= 1
                return 0.0
            return (1 - self._tokens) / self.limit.rate


class RateLimits:
    """The buckets of one worker, by the name of the key; `clock` in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._buckets = clock, dict[str, TokenBucket]()

    def spend(self, name: str, limit: RateLimit) -> None:
        """Raise RateExceeded unless the key may ask now. Another limit than before begins with a full bucket."""
        now, bucket = self._clock(), self._buckets.get(name)
        if bucket is None or bucket.limit != limit:
            bucket = self._buckets[name] = TokenBucket(limit, now=now)
        if (seconds := bucket.take(now=now)) > 0:
            raise RateExceeded(name, limit, seconds=seconds)
