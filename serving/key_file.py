"""Key file: the API keys of a file that changes while the service runs: keys come and go without a restart."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from marketplace.finding import DataError
from serving.keys import Caller, KeyRing

logger = logging.getLogger(__name__)
Stamp = tuple[int, int, int]  # inode, time, size


class KeyFile:
    """The keys of `path`, looked at no more often than every `every` seconds.

    Raises DataError and OSError where they cannot be read at first; later the last good ones stay, and the log says so.
    """

    def __init__(self, path: Path, *, every: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._path, self._every, self._clock = path, every, clock
        self._seen: Stamp | None = self._stamp()
        self._ring, self._looked = self._read(), clock()

    def caller(self, key: str) -> Caller | None:
        """The holder of a key, None = nobody."""
        return self._newest().caller(key)

    def holder(self, mark: str) -> Caller | None:
        """Who holds the key of a `key_mark`, None = nobody, or nobody any more."""
        return self._newest().holder(mark)

    def _newest(self) -> KeyRing:
        now = self._clock()
        if now - self._looked >= self._every:
            self._looked = now
            try:
                stamp = self._stamp()
                if stamp != self._seen:
                    self._seen = stamp
                    self._ring = self._read()
                    logger.info("the API keys of %s are read again", self._path)
            except (DataError, OSError) as error:
                self._seen = None  # it is tried again
                logger.error("the API keys stay as they were: %s", error)
        return self._ring

    def _read(self) -> KeyRing:
        return KeyRing.from_toml(self._path.read_bytes(), file=str(self._path))

    def _stamp(self) -> Stamp:
        stat = self._path.stat()
        return stat.st_ino, stat.st_mtime_ns, stat.st_size
