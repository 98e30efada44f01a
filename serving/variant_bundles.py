"""Bundles that experiments' variants name: loaded beside the requests, each with its engine, and let go again.

They lie beside the bundle in force, and both know what the log holds. What a slate shows must say which of them
answered; nothing that is kept over all shoppers (a staged policy, promised exposure) can be divided between two.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path

from serving.arms import BundleArm
from serving.manifest import MANIFEST, BundleError
from serving.memory import settle
from serving.parts import Parts
from serving.service import Run, in_background

logger = logging.getLogger(__name__)
Stamp = tuple[int, int, int]  # inode, time, size of a manifest


class VariantBundles:
    """The bundles of `folder` that variants name; `load` builds and tries the engine of one, or raises BundleError;
    None = experiments with such variants are left to whoever serves.

    `of` gives what is loaded; what is not is loaded by `run`. A folder is never overwritten, so that a name is loaded
    once; what was refused is tried again when its manifest changes. `arrived`: something was loaded or refused.
    """

    def __init__(self, folder: Path, load: Callable[[Path], BundleArm] | None, *, run: Run = in_background) -> None:
        self._folder, self._load, self.run = folder, load, run
        self._arms: dict[str, BundleArm] = {}
        self._refused: dict[str, tuple[Stamp | None, str]] = {}
        self._loading: set[str] = set()
        self.arrived = False

    @property
    def loads(self) -> bool:
        return self._load is not None

    @property
    def arms(self) -> tuple[BundleArm, ...]:
        """Those that are loaded."""
        return tuple(self._arms.values())

    def of(self, name: str, *, wait: bool) -> BundleArm:
        """The bundle `name`; `wait` = it is loaded here and now. Raises BundleError: refused, or not loaded yet."""
        if name in self._arms:
            return self._arms[name]
        stamp = self._stamp(name)
        if name in self._refused and self._refused[name][0] == stamp:
            raise BundleError(self._refused[name][1])
        if wait:
            self._take(name, stamp)
            return self.of(name, wait=False)
        if name not in self._loading:
            self._loading.add(name)
            self.run(lambda: self._take(name, stamp))
        raise BundleError(f"bundle {self._folder / name} is being loaded; until then nobody is in a variant")

    def stamps(self, names: Collection[str]) -> tuple[Stamp | None, ...]:
        """What changes where a bundle of these names comes, or another takes the name of one that was refused."""
        return tuple(map(self._stamp, sorted(names)))

    def _stamp(self, name: str) -> Stamp | None:
        try:
            stat = (self._folder / name / MANIFEST).stat()
        except OSError:
            return None
        return stat.st_ino, stat.st_mtime_ns, stat.st_size

    def keep(self, names: Collection[str]) -> None:
        """Let go of all others, and note that what has arrived is seen."""
        self.arrived = False
        for name in self._arms.keys() - names:
            engine = self._arms.pop(name).engine
            engine.close()
            self.run(partial(settle, weakref.ref(engine)))
            logger.info("bundle %s of an experiment is let go", self._folder / name)

    def _take(self, name: str, stamp: Stamp | None) -> None:
        try:
            assert self._load is not None, "nothing is loaded here"
            self._arms[name] = self._load(self._folder / name)
        except Exception as error:  # whatever is wrong with a variant's bundle, that in force must go on serving
            known = isinstance(error, BundleError)
            self._refused[name] = (stamp, str(error) if known else f"{type(error).__name__}: {error}")
        self._loading.discard(name)
        self.arrived = True


def check_beside(in_force: Parts, other: Parts) -> None:
    """Raise BundleError where two bundles cannot share the shoppers of an experiment."""
    if in_force.versions == other.versions:
        raise BundleError(f"bundle {other.bundle} has the parts of the one in force: slates would not tell them apart")
    if in_force.currency != other.currency:
        raise BundleError(f"bundle {other.bundle} is in {other.currency}, that in force in {in_force.currency}")
    for parts in (in_force, other):
        if parts.staged is not None:
            raise BundleError(
                f"policy {parts.staged.version} of bundle {parts.bundle} is staged to a share of the shoppers, beside "
                "which no experiment changes the bundle: publish it to everybody, or roll it back"
            )
        if parts.valuation.exposure is not None:
            raise BundleError(
                f"the policy of bundle {parts.bundle} promises merchants exposure, over all shoppers: it cannot be "
                "served to a part of them"
            )
