"""Admission queue: requests that wait for a worker's one slot, bounded by how long they would wait.

    wait = what the running request still takes + what those in the queue take, each by its route's mean seconds

A request is refused at once where wait > LONGEST; from then on the worker is congested and refuses where wait >
STANDING, until its slot was idle for as long as a request takes. A queue absorbs bursts; one that stands serves
nobody: every answer is late, and as many are given. What still waits after LONGEST is overdue, and refused too.
As in controlled delay (K. Nichols, V. Jacobson: Controlling Queue Delay, ACM Queue 2012), brought from packets to
requests by B. Maurer (Fail at Scale, ACM Queue 2015).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

LONGEST = 0.5  # seconds
STANDING = 0.005
FADING = 0.1  # share of the newest in a route's mean


class Waiting(Protocol):
    """What waits: `route` names those that take about as long, `arrived` is a time of the queue's clock."""

    @property
    def route(self) -> str: ...

    @property
    def arrived(self) -> float: ...


Entry = TypeVar("Entry", bound=Waiting)


class AdmissionQueue(Generic[Entry]):
    """First in, first out; one thread takes, another offers and withdraws. `clock` in seconds."""

    def __init__(
        self,
        *,
        longest: float = LONGEST,
        standing: float = STANDING,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._longest, self._standing, self._clock = longest, min(standing, longest), clock
        self._changed = threading.Condition()
        self._entries: deque[Entry] = deque()
        self._running: tuple[Entry, float] | None = None  # and since when
        self._mean: dict[str, float] = {}
        self._idle_since = clock()
        self._congested = self._closed = False

    def __len__(self) -> int:
        return len(self._entries)

    def offer(self, entry: Entry, *, within: float = float("inf")) -> bool:
        """Whether it is admitted; not where it would wait for more than `within` seconds either."""
        with self._changed:
            idle = self._running is None and not self._entries
            if idle and self._clock() - self._idle_since >= self._mean.get(entry.route, 0.0):
                self._congested = False
            if not idle:
                wait = self._wait()
                if wait > min(within, self._standing if self._congested else self._longest):
                    self._congested = self._congested or wait > self._longest
                    return False
            self._entries.append(entry)
            self._changed.notify()
        return True

    def put_first(self, entry: Entry) -> None:
        """Admit it, whatever waits, before the others."""
        with self._changed:
            self._entries.appendleft(entry)
            self._changed.notify()

    def take(self) -> Entry | None:
        """The next to run, once there is one; None when the queue is closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._entries or self._closed)
            if not self._entries:
                return None
            entry = self._entries.popleft()
            self._running = (entry, self._clock())
            return entry

    def finish(self) -> None:
        """What was taken has run."""
        with self._changed:
            if self._running is None:
                return
            (entry, since), now = self._running, self._clock()
            mean = self._mean.get(entry.route, now - since)
            self._mean[entry.route] = mean + FADING * (now - since - mean)
            self._running, self._idle_since = None, now

    def withdraw(self, entry: Entry) -> bool:
        """Whether it still waited, and does no more."""
        with self._changed:
            if entry not in self._entries:
                return False
            self._entries.remove(entry)
            return True

    def overdue(self) -> list[Entry]:
        """Those that have waited for too long, taken out."""
        with self._changed:
            late = [entry for entry in self._entries if self._clock() - entry.arrived > self._longest]
            for entry in late:
                self._entries.remove(entry)
            self._congested = self._congested or bool(late)
        return late

    def close(self) -> None:
        """Nothing more is offered."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    @property
    def running_for(self) -> float:
        """Seconds that the running one has run; 0 = none does."""
        running = self._running
        return 0.0 if running is None else self._clock() - running[1]

    def _wait(self) -> float:
        """Seconds until the slot would take one more."""
        wait = sum(self._mean.get(entry.route, 0.0) for entry in self._entries)
        if self._running is not None:
            entry, since = self._running
            wait += max(self._mean.get(entry.route, 0.0) - (self._clock() - since), 0.0)
        return wait
