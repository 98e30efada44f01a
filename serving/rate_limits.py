"""Rate limits: a token bucket a name (of a key, of a client's address) and worker.

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
    """A bucket is empty for so many seconds; `rule`: who may do what how often."""

    def __init__(self, rule: str, *, seconds: float) -> None:
        super().__init__(f"{rule}; try again in {seconds:.2f} s")
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

    def take(self, *, now: float, tokens: int = 1) -> float:
        """Seconds until there is a token; 0 = there is one, and `tokens` (0 or 1) are taken."""
        with self._lock:
            grown = self._tokens + self.limit.rate * (now - self._since)
            self._tokens, self._since = min(float(self.limit.burst), grown), now
            if self._tokens >= 1:
                self._tokens -= tokens
                return 0.0
            return (1 - self._tokens) / self.limit.rate


class RateLimits:
    """The buckets of one worker, by name; `clock` in seconds. At most `most`: those looked at last (None = all)."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, most: int | None = None) -> None:
        self.clock, self._most, self._buckets = clock, most, dict[str, TokenBucket]()

    def spend(self, name: str, limit: RateLimit) -> None:
        """Raise RateExceeded unless the key of that name ("" = none) may ask now."""
        if (seconds := self.wait(name, limit)) > 0:
            holder = f"the key {name!r}" if name else "whoever has no key"
            rule = f"{holder} may ask {limit.rate:g} times a second, and {limit.burst} at once"
            raise RateExceeded(rule, seconds=seconds)

    def wait(self, name: str, limit: RateLimit, *, tokens: int = 1) -> float:
        """Seconds until there is a token; 0 = there is one, and `tokens` (0 or 1) are taken.

        Another limit than before begins with a full bucket.
        """
        now, bucket = self.clock(), self._buckets.pop(name, None)
        if bucket is None or bucket.limit != limit:
            bucket = TokenBucket(limit, now=now)
        self._buckets[name] = bucket
        if self._most is not None and len(self._buckets) > self._most:
            del self._buckets[next(iter(self._buckets))]
        return bucket.take(now=now, tokens=tokens)
