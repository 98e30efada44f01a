"""A feature store that keeps up with the log, so that every worker knows what every other worker recorded.

Events reach the store only through the log, in order of arrival and each exactly once: a repeat is dropped by the
log, and a service that starts again reads what happened since its bundle was made. Impressions of a process's own
slates are remembered until then, those of others are read; where merchants' exposure is paced all are read, because
prices depend on the order. A checkpoint keeps what was learned, so that a worker starts in the same time however much
is in the log.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

import pyarrow as pa

from features.store import SavedStore
from marketplace.log import SHOWN, Log
from marketplace.schema import SLATE
from marketplace.slate import Slate
from serving.pacing import READ, Pacing
from serving.store_checkpoint import BEGINNING, EVERY, LogPosition, StoreCheckpoint

BATCH = 1000  # slates read at once


class MovingCatalogue(Protocol):
    """What reads the log's records of the catalogue."""

    def follow(self) -> None: ...


class Follower:
    """Tells `store` and `pacing` what the log holds from `since` on, when asked: feedback each time, what was shown at
    most every `every` seconds.

    `live` reads its records of the catalogue at the latter times, and before feedback is learned.
    """

    def __init__(
        self,
        log: Log,
        store: SavedStore,
        *,
        since: datetime,
        every: float,
        pacing: Pacing | None = None,
        checkpoint: StoreCheckpoint | None = None,
        live: MovingCatalogue | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log, self._store, self._every, self._clock = log, store, every, clock
        self._since: datetime | None = since
        self._pacing, self._checkpoint, self._live = pacing, checkpoint, live
        if live is not None:
            live.follow()  # first: what the checkpoint and the log hold may be of items that begin with it
        self._kept = BEGINNING if checkpoint is None else checkpoint.restore(store, pacing, log)
        if self._kept != BEGINNING:  # whatever came behind it is unknown to the store, however late it came
            self._since = None
        self._feedback, self._slates = self._kept.feedback, self._kept.slates
        self._own: dict[str, Slate] = {}
        self._followed = -float("inf")

    def logged(self, slate: Slate) -> None:
        """Keep a slate that this process has just logged for the next time, so that it need not be read back."""
        if self._pacing is None:
            self._own[slate.request_id] = slate

    def follow(self, *, at_once: bool = False) -> None:
        """Read the feedback that arrived, so that what any worker acknowledged is known to every next answer.

        What was shown is read as well where the last time was `every` ago; `at_once` = whenever that was.
        """
        events, reached = self._log.feedback_after(self._feedback, since=self._since)
        now = self._clock()
        whole = at_once or now - self._followed >= self._every
        if self._live is not None and (whole or len(events)):
            self._live.follow()  # before events are learned: they may be of items that began just now
        if len(events):
            self._store.update(events)
        self._feedback = reached
        if not whole:
            return
        self._followed = now
        if self._own:
            self._store.show(shown_table(list(self._own.values())))
        _, newest = self._log.ends()  # what is shown meanwhile is left for the next time
        while True:
            before, columns = self._slates, SHOWN if self._pacing is None else READ
            shown, self._slates = self._log.shown_after(
                before, since=self._since, most=BATCH, skip=self._own, columns=columns
            )
            if len(shown):
                self._store.show(shown)
                if self._pacing is not None:
                    self._pacing.learn(shown)
            if self._slates >= newest or self._slates == before:
                self._own.clear()
                self.keep(at_least=EVERY)
                return

    def close(self) -> None:
        """Read the rest, and keep what was learned for the next to start."""
        self.follow(at_once=True)
        self.keep()

    def keep(self, *, at_least: int = 1) -> None:
        """Write the checkpoint, where so many rows were read since the last one."""
        position = LogPosition(self._feedback, self._slates)
        if self._checkpoint is not None and position.beyond(self._kept) >= at_least:
            self._checkpoint.save(self._store, self._pacing, self._log, position)
            self._kept = position


def shown_table(slates: list[Slate]) -> pa.Table:
    """The columns SHOWN, which `FeatureStore.show` reads."""
    columns = {
        "time": pa.array([slate.time for slate in slates], SLATE.field("time").type),
        "user_id": pa.array([slate.user_id for slate in slates], pa.string()),
        "session_id": pa.array([slate.session_id for slate in slates], pa.string()),
        "item_id": pa.array([slate.item_id for slate in slates], pa.list_(pa.string())),
        "position": pa.array([slate.position for slate in slates], pa.list_(pa.int32())),
    }
    return pa.table({name: columns[name] for name in SHOWN})
