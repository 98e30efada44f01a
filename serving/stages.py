"""Where a request's time went."""

from __future__ import annotations

import time

STAGES = (
    "follow",
    "store_user",
    "embed",
    "retrieve",
    "store_items",
    "encode",
    "score",
    "value",
    "choose",
    "slate",
    "log",
)


class Stages:
    """Seconds per stage of one ranking, in the order of the path."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def mark(self, stage: str) -> None:
        """What ran since the last mark was `stage`."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now
