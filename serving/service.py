"""What the HTTP layer needs of an engine, and the engine that follows the newest good bundle."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa

from marketplace.slate import Slate
from serving.manifest import BundleError
from serving.request import Request

logger = logging.getLogger(__name__)


class NotReady(RuntimeError):
    """No bundle has been loaded yet."""


@dataclass(frozen=True)
class State:
    """Which bundle serves (None = none), its versions, and why a newer one was refused."""

    bundle: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    problem: str | None = None


class Service(Protocol):
    """Ranks, explains and records."""

    def rank(self, request: Request) -> Slate: ...

    def explain(self, slate: Slate) -> Mapping[str, np.ndarray]:
        """Value per term, float64 [n] each, summing to the slate's values."""
        ...

    def record(self, feedback: pa.Table) -> tuple[int, int]:
        """(accepted, duplicates) of a FEEDBACK table, after it is on record."""
        ...

    @property
    def state(self) -> State: ...

    @property
    def seconds(self) -> Mapping[str, float]:
        """Seconds per stage of the last ranking."""
        ...

    @property
    def currency(self) -> str: ...


class LiveService:
    """A Service that follows a pointer to bundles: a bad new bundle is reported, and the last good one goes on serving.

    `pointer` is a symbolic link to a bundle folder (or the folder itself); it is looked at no more often than every
    `every` seconds, before a request. `build` loads and checks a bundle, or raises BundleError.
    """

    def __init__(
        self,
        pointer: Path,
        *,
        build: Callable[[Path], Service],
        every: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pointer, self._build, self._every, self._clock = pointer, build, every, clock
        self._serving: Service | None = None
        self._seen: Path | None = None
        self._problem: str | None = None
        self._looked = -float("inf")

    def rank(self, request: Request) -> Slate:
        return self._current().rank(request)

    def explain(self, slate: Slate) -> Mapping[str, np.ndarray]:
        return self._current().explain(slate)

    def record(self, feedback: pa.Table) -> tuple[int, int]:
        return self._current().record(feedback)

    @property
    def seconds(self) -> Mapping[str, float]:
        return self._current().seconds

    @property
    def currency(self) -> str:
        return self._current().currency

    @property
    def state(self) -> State:
        """The serving bundle's state; looking here follows the pointer too."""
        self._follow()
        if self._serving is None:
            return State(problem=self._problem)
        served = self._serving.state
        return State(served.bundle, served.versions, self._problem)

    def _current(self) -> Service:
        self._follow()
        if self._serving is None:
            raise NotReady(self._problem or "no bundle is loaded yet")
        return self._serving

    def _follow(self) -> None:
        """Load what the pointer names when that changed."""
        now = self._clock()
        if now - self._looked < self._every:
            return
        self._looked = now
        target = self._pointer.resolve()
        if target == self._seen:
            return
        self._seen = target
        try:
            self._serving, self._problem = self._build(target), None
            logger.info("serving bundle %s", target)
        except (BundleError, OSError) as error:
            self._problem = str(error)
            logger.error("bundle %s refused: %s", target, error)
