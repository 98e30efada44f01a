"""Rate limits: a token bucket a key and worker.

tokens(t) = min(burst, tokens(t0) + rate x (t - t0)),  a request takes one; without one it waits (1 - tokens) / rate
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class RateLimit:
    """`rate` requests a second, and a `burst` of them at once."""

    rate: float
    burst: int


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

    def take(self, name: str, limit: RateLimit) -> float:
        """Seconds until the key may ask again; 0 = it may now. Another limit than before begins with a full bucket."""
        now, bucket = self._clock(), self._buckets.get(name)
        if bucket is None or bucket.limit != limit:
            bucket = self._buckets[name] = TokenBucket(limit, now=now)
        return bucket.take(now=now)
