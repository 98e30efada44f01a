"""Store checkpoint: what one bundle's feature store and shadow prices learned from the log up to a position in it.

One file beside the log, `<log>.store-<bundle>.npz`, written whole and renamed. A worker that starts goes on from it and
reads what arrived since; where it is missing, damaged, of another bundle, or does not match the log, the worker reads
the log from the bundle's own time on, as without it.
"""

from __future__ import annotations

import json
import logging
import os
import zipfile
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from features.store import SavedStore
from marketplace.log import Log
from marketplace.sqlite_file import PRIVATE
from serving.pacing import Pacing

logger = logging.getLogger(__name__)
EVERY = 20_000  # slates and events that are read again at most
KEPT = 2  # files: the serving bundle's, and that of the one before, for going back
NO_PRICES = np.zeros(0)
UNREADABLE = (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile)


@dataclass(frozen=True)
class LogPosition:
    """How far a log was read: the marks of `Log.feedback_after` and `Log.shown_after`."""

    feedback: int = 0
    slates: int = 0

    def beyond(self, other: LogPosition) -> int:
        """Rows that arrived after `other`."""
        return self.feedback - other.feedback + self.slates - other.slates

    def reaches(self, other: LogPosition) -> bool:
        """Whether no row up to `other` lies behind it."""
        return self.feedback >= other.feedback and self.slates >= other.slates


BEGINNING = LogPosition()


class StoreCheckpoint:
    """The checkpoint of one bundle over the log in the file `log_path`."""

    def __init__(self, log_path: Path, *, bundle: str) -> None:
        self._prefix = f"{log_path.name}.store-"
        self.path = log_path.with_name(f"{self._prefix}{bundle}.npz")

    def restore(self, store: SavedStore, pacing: Pacing | None, log: Log) -> LogPosition:
        """Fill the store and the prices; BEGINNING, and both are as they were, where there is nothing that matches."""
        if not self.path.exists():
            return BEGINNING
        try:
            position, names, prices = self._read()
            if names != log.names_at(position.feedback, position.slates):
                raise ValueError("the log does not hold the rows that it ends with")
            if pacing is not None and prices.shape != pacing.prices.shape:
                raise ValueError(f"it has {len(prices)} shadow prices, there are {len(pacing.prices)} merchants")
            store.restore(self.path)
        except UNREADABLE as error:
            logger.warning("%s is not used: %s. The log is read from the bundle's time on.", self.path, error)
            return BEGINNING
        if pacing is not None:
            pacing.prices[:] = prices
        return position

    def save(self, store: SavedStore, pacing: Pacing | None, log: Log, position: LogPosition) -> None:
        """Write everything, unless another worker is as far; a failure is reported, and costs the next start time."""
        with suppress(*UNREADABLE):
            if position.beyond(self._read()[0]) <= 0:
                return
        draft = self.path.with_name(f".{os.getpid()}.{self.path.name}")
        names = log.names_at(position.feedback, position.slates)
        extra = {
            "position": np.array(json.dumps({**asdict(position), "names": names})),
            "prices": NO_PRICES if pacing is None else pacing.prices,
        }
        try:
            draft.touch(PRIVATE)
            store.save(draft, extra=extra)
            os.replace(draft, self.path)
        except OSError as error:
            logger.warning("%s could not be written: %s", self.path, error)
            draft.unlink(missing_ok=True)
            return
        for old in self._newest_first()[KEPT:]:
            old.unlink(missing_ok=True)

    def _read(self) -> tuple[LogPosition, tuple[str | None, str | None], np.ndarray]:
        """Position, ids of the rows there, prices."""
        with np.load(self.path, allow_pickle=False) as file:
            entry = json.loads(str(file["position"]))
            feedback, slate = entry.pop("names")
            return LogPosition(**entry), (feedback, slate), file["prices"]

    def _newest_first(self) -> list[Path]:
        files = self.path.parent.glob(f"{self._prefix}*.npz")
        return sorted(files, key=lambda file: file.stat().st_mtime, reverse=True)
