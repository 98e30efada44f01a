"""Ranking service: what the HTTP layer needs of an engine, and the engine that follows the newest good bundle."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from evaluation.experiments.experiment_folder import FolderContent
from features.spec import FeatureSpec
from marketplace.catalogue_records import CatalogueReceipt, CatalogueUpdate, Subject
from marketplace.log import Receipt
from marketplace.slate import Slate
from retrieval.moving_index import IndexState
from serving.deadline import NO_DEADLINE, Deadline
from serving.feedback_checks import NO_DETAILS, OrderDetails, Sender
from serving.manifest import BundleError
from serving.request import Request
from value_model.formula import ValuePolicy

logger = logging.getLogger(__name__)
FRESH = 60.0  # seconds in which what was loaded is as good as new


class NotReady(RuntimeError):
    """No bundle has been loaded yet."""


class PolicyNotLoaded(LookupError):
    """The policy that ranked a slate is none of those that serve."""


@dataclass(frozen=True)
class ServiceState:
    """Which bundle serves (None = none), its versions, why a newer one was refused, the experiments served, the index.

    `index`: None where no source compares embeddings.
    """

    bundle: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    problem: str | None = None
    experiments: FolderContent = field(default_factory=FolderContent)
    index: IndexState | None = None


@dataclass(frozen=True, eq=False)
class Ranking:
    """One answer: the slate on record, seconds per stage, and the caller's candidates that the catalogue lacks.

    `rows` int32 [n]: the slate's items in the catalogue; a plain list does not say. `left_out`: candidates whose heads
    or value are not finite. `further`: every place is filled, so that another page may follow.
    `unavailable_candidates`: the caller's that may not be shown, by id, with the reason. `without_unit`: the
    experiments that it is left out of because it lacks the unit of assignment.
    """

    slate: Slate
    seconds: Mapping[str, float]
    unknown_candidates: tuple[str, ...] = ()
    left_out: int = 0
    further: bool = False
    unavailable_candidates: Mapping[str, str] = field(default_factory=dict)
    without_unit: tuple[str, ...] = ()
    rows: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Preview:
    """What a request would get now, on record nowhere.

    `terms`: value per term, float64 [n] each; `names`: what the slate's items are called, ids where they have no name.
    """

    ranking: Ranking
    terms: Mapping[str, np.ndarray]
    names: Sequence[str]


class RankingService(Protocol):
    """Ranks, explains and records."""

    def follow(self) -> None:
        """Look whether something of it changed; called before a request or a probe is answered."""
        ...

    def rank(self, request: Request, *, deadline: Deadline = NO_DEADLINE) -> Ranking:
        """Raises ClientGone, and records nothing, where nobody waits for it any more."""
        ...

    def preview(self, request: Request, *, policy: ValuePolicy | None = None) -> Preview:
        """What `rank` would answer, under another `policy` if there is one; nobody sees it, nothing learns from it."""
        ...

    def logged(self, request_id: str) -> Slate:
        """A slate on record; raises UnknownRequest."""
        ...

    def explain(self, slate: Slate) -> Mapping[str, np.ndarray]:
        """Value per term, float64 [n] each, summing to the slate's values; raises PolicyNotLoaded."""
        ...

    def record(
        self, feedback: pa.Table, *, sender: Sender = Sender.ANYBODY, details: OrderDetails = NO_DETAILS
    ) -> Receipt:
        """What became of a FEEDBACK table, after it is on record."""
        ...

    def put_catalogue(
        self, subject: Subject, updates: Sequence[CatalogueUpdate], *, time: datetime
    ) -> CatalogueReceipt:
        """What became of updates of items or merchants that arrived at `time`, after they are on record."""
        ...

    def read_log(self) -> None:
        """Learn at once what is on record."""
        ...

    def close(self) -> None:
        """Keep what must outlive the process."""
        ...

    @property
    def outgrown(self) -> bool:
        """Whether it must be built again to serve all that is on record."""
        ...

    @property
    def currency(self) -> str: ...

    @property
    def policy(self) -> ValuePolicy:
        """In force for everybody who sees no other."""
        ...

    @property
    def spec(self) -> FeatureSpec:
        """The features that it reads, mapped ones among them."""
        ...

    @property
    def state(self) -> ServiceState: ...


class ServiceProvider(Protocol):
    """Gives each request the one service that answers it from beginning to end."""

    def follow(self) -> None:
        """Look whether another bundle is to serve; called before a request or a probe is answered."""
        ...

    def current(self) -> RankingService:
        """Raises NotReady."""
        ...

    @property
    def state(self) -> ServiceState: ...


Run = Callable[[Callable[[], None]], None]


def in_background(task: Callable[[], None]) -> None:
    """Run `task` in a thread of its own."""
    threading.Thread(target=task, name="bundle", daemon=True).start()


class LiveService:
    """The `ServiceProvider` of the newest good bundle: a bad one is reported, and the last good one goes on serving.

    `pointer` is a symbolic link to a bundle folder, or the folder itself; `follow` looks at it no more often than every
    `every` seconds. `build` loads and checks a bundle, or raises BundleError. The first bundle is waited for; later
    ones are loaded by `run` beside the requests, and take over between two of them. So is the serving one, once more,
    when new items have outgrown it.
    """

    def __init__(
        self,
        pointer: Path,
        *,
        build: Callable[[Path], RankingService],
        every: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
        run: Run = in_background,
        renew: Callable[[Any, Path, Path], bool] = lambda service, loaded, target: False,
        settle: Callable[[Callable[[], object]], None] = lambda left: None,
    ) -> None:
        """`renew` takes the service of a loaded bundle over to another one at once, where only the policy differs.

        `settle` is called after each change with what gives the service that served before, None once it is gone.
        """
        self._pointer, self._build, self._every, self._clock, self._run = pointer, build, every, clock, run
        self._renew, self._settle = renew, settle
        self._serving: RankingService | None = None
        self._loaded: Path | None = None  # what serves
        self._seen: Path | None = None  # the pointer's latest target
        self._growing = False  # the bundle that serves is being loaded again, with more room
        self._change = threading.Lock()
        self._problem: str | None = None
        self._looked = -float("inf")

    def current(self) -> RankingService:
        if self._serving is None:
            raise NotReady(self._problem or "no bundle is loaded yet")
        return self._serving

    @property
    def state(self) -> ServiceState:
        """The serving bundle's, with the reason why a newer one was refused."""
        if self._serving is None:
            return ServiceState(problem=self._problem)
        return replace(self._serving.state, problem=self._problem)

    def close(self) -> None:
        """Let the serving bundle keep what must outlive the process."""
        if self._serving is not None:
            self._serving.close()

    def follow(self) -> None:
        """Load what the pointer names, where that changed; let the serving bundle follow its experiments."""
        if self._serving is not None:
            self._serving.follow()
        now = self._clock()
        if now - self._looked < self._every:
            return
        self._looked = now
        target = self._pointer.resolve()
        with self._change:
            outgrown = target == self._loaded and self._outgrown()
            if target == self._seen and not outgrown:
                return
            self._seen, self._growing = target, outgrown
            if target == self._loaded and not outgrown:  # moved back before another had taken over
                self._problem = None
                return
        if self._serving is None:
            self._load(target)
        elif outgrown or not self._renewed(target):
            self._run(lambda: self._load(target))

    def begin(self) -> None:
        """Serve in a fork of the process that loaded the bundle: again from the start, unless that was just now.

        What the log has told since is quicker read from a checkpoint, and another bundle may be in force.
        """
        if self._pointer.resolve() != self._loaded or self._clock() - self._looked > FRESH:
            self._serving = self._loaded = self._seen = None
            self._looked = -float("inf")
        self.follow()

    def forget(self) -> None:
        """Let go of what was loaded, in the process that loaded it for its forks."""
        self._serving = self._loaded = None
        self._settle(lambda: None)

    def _renewed(self, target: Path) -> bool:
        """Whether the serving bundle's service went over to the target; what hinders it is said when that is loaded."""
        assert self._loaded is not None
        try:
            if not self._renew(self._serving, self._loaded, target):
                return False
        except Exception as error:
            logger.info("bundle %s is loaded anew: %s", target, error)
            return False
        with self._change:
            self._loaded, self._problem = target, None
        logger.info("serving bundle %s, with the models of the one before", target)
        return True

    def _outgrown(self) -> bool:
        """Whether the serving engine must make room, which another is not being loaded for yet."""
        return self._serving is not None and not self._growing and self._serving.outgrown

    def _load(self, target: Path) -> None:
        try:
            service = self._build(target)
        except Exception as error:  # whatever is wrong with a new bundle, the last good one must go on serving
            logger.error("bundle %s refused: %s", target, error, exc_info=not isinstance(error, BundleError))
            with self._change:
                if target == self._seen:
                    known = isinstance(error, BundleError)
                    self._problem = str(error) if known else f"{type(error).__name__}: {error}"
            return
        with self._change:
            if target != self._seen and self._serving is not None:
                logger.info("bundle %s is loaded too late: the link has moved on to %s", target, self._seen)
                return
            left = (lambda: None) if self._serving is None else weakref.ref(self._serving)
            self._serving, self._loaded = service, target
            self._problem, self._growing = None, False
        logger.info("serving bundle %s", target)
        self._settle(left)
