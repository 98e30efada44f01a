"""Retries: how often, and after how long, a call is made again.

    wait before attempt n + 1 = max(Retry-After, u x min(longest, first x 2^(n - 1))),  u uniform in [0, 1)

(full jitter: M. Brooker, Exponential Backoff And Jitter, 2015). What the service refused without doing it (429, 503) is
tried again; what may have been done is only where a repeat is harmless.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

REFUSED = frozenset({429, 503})


@dataclass(frozen=True)
class RetryPolicy:
    """`attempts` in all; `first` and `longest` wait in seconds."""

    attempts: int = 4
    first: float = 0.05
    longest: float = 2.0

    def wait(self, attempt: int, *, rng: np.random.Generator, retry_after: float = 0.0) -> float:
        """Seconds after the attempt (from 1)."""
        return max(retry_after, rng.random() * min(self.longest, self.first * 2 ** (attempt - 1)))
