"""Where a request's time went."""

from __future__ import annotations

from collections.abc import Callable

STAGES = (
    "follow",
    "store_user",
    "embed",
    "retrieve",
    "store_items",
    "encode",
    "first_phase",
    "score",
    "value",
    "choose",
    "slate",
    "log",
)


class Stages:
    """Seconds per stage of one ranking, in the order of the path."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.seconds: dict[str, float] = {}
        self._clock, self._last = clock, clock()

    def mark(self, stage: str) -> None:
        """What ran since the last mark was `stage`."""
        now = self._clock()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now
