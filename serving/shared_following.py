"""A shared feature store keeps up with the log: whichever process comes first teaches it, each row once.

The store holds how far the log was read, and moves that on in the transaction in which it remembers the rows. Several
followers may do so at once; what one of them did the others find done.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime

from features.store import SharedStore
from marketplace.log import SHOWN, Log
from marketplace.slate import Slate
from serving.following import BATCH, MovingCatalogue
from serving.store_checkpoint import BEGINNING, LogPosition

EVENTS = 5_000  # read at once: what other workers' reads wait for while they are written


class OtherLog(ValueError):
    """The shared store has learned from another log."""


class SharedFollower:
    """Teaches `store` what the log holds from `since` on, when asked and at most every `every` seconds.

    `live` reads its records of the catalogue at the same times. Raises OtherLog, StoreUnavailable.
    """

    def __init__(
        self,
        log: Log,
        store: SharedStore,
        *,
        since: datetime,
        every: float,
        live: MovingCatalogue | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log, self._store, self._since, self._every, self._clock = log, store, since, every, clock
        self._live = live
        self._followed = -float("inf")
        position, names = read_position(store.position())
        if names != log.names_at(position.feedback, position.slates):
            raise OtherLog(
                f"the shared feature store knows a log that ends with {names}, this one does not: every service of a "
                "store must have the same log. Give this one a database of its own, or empty that one."
            )

    def logged(self, slate: Slate) -> None:
        """A slate that this process has logged is read back as all others are, by whoever follows next."""

    def follow(self, *, at_once: bool = False) -> None:
        """Teach one batch of what has arrived since the store's position, whoever got it there.

        `at_once`: all of it, whenever the last time was; what arrives meanwhile is left for the next, so that it ends.
        """
        now = self._clock()
        if not at_once and now - self._followed < self._every:
            return
        self._followed = now
        if self._live is not None:
            self._live.follow()
        ends = LogPosition(*self._log.ends())
        while self._behind(ends) and at_once:
            pass

    def close(self) -> None:
        """Teach the rest; the store outlives the process."""
        self.follow(at_once=True)

    def _behind(self, ends: LogPosition) -> bool:
        """Teach one batch; whether there may be more up to `ends`."""
        after = self._store.position()
        before, _ = read_position(after)
        if before.reaches(ends):
            return False
        events, feedback = self._log.feedback_after(before.feedback, since=self._since, most=EVENTS)
        shown, slates = self._log.shown_after(before.slates, since=self._since, most=BATCH, columns=SHOWN)
        reached = LogPosition(feedback, slates)
        upto = json.dumps({**asdict(reached), "names": self._log.names_at(feedback, slates)})
        return not (self._store.learn(events, shown, after=after, upto=upto) and reached.reaches(ends))


class TaughtElsewhere:
    """The follower of a process whose store another process teaches, which alone knows all that there is to learn."""

    def __init__(self, live: MovingCatalogue, *, every: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._live, self._every, self._clock, self._followed = live, every, clock, -float("inf")

    def logged(self, slate: Slate) -> None:
        """A slate that this process has logged comes to the other one with its log."""

    def follow(self, *, at_once: bool = False) -> None:
        """Read the log's records of the catalogue, at most `every` seconds."""
        now = self._clock()
        if at_once or now - self._followed >= self._every:
            self._followed = now
            self._live.follow()

    def close(self) -> None:
        """The store outlives the process."""


def read_position(text: str) -> tuple[LogPosition, tuple[str | None, str | None]]:
    """The marks, and the names of the rows that lie there."""
    if not text:
        return BEGINNING, (None, None)
    entry = json.loads(text)
    feedback, slate = entry.pop("names")
    return LogPosition(**entry), (feedback, slate)
