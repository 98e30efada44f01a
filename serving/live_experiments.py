"""Experiments that a running engine follows: which variant a request is in, and the arms that answer it.

The folder is looked at as the bundle's link is. Whatever is wrong in it breaks no answer: an experiment that cannot be
served whole is not served, what was last good of one that runs stays, and the fault is in the state and in the log.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from evaluation.experiments.experiment_file import Experiment, Variant
from evaluation.experiments.experiment_folder import FolderContent, PlacedExperiment, read_folder
from evaluation.experiments.interleaving import TurnRule
from evaluation.experiments.units import unit_of
from marketplace.slate import Slate
from serving.arms import (
    NO_VARIANTS,
    Arm,
    ArmBuilder,
    BundleArm,
    BundleEngine,
    PolicyArm,
    RequestVariants,
    variant_policy,
)
from serving.manifest import BundleError
from serving.parts import Parts
from serving.request import Request
from serving.variant_bundles import VariantBundles
from value_model.formula import ValuePolicy

logger = logging.getLogger(__name__)
FileStamp = tuple[str, int, int, int]  # name, inode, time, size
ArmKey = tuple[str, str, TurnRule | None]  # experiment, file, how it is interleaved
Arms = Mapping[str, tuple[Arm | BundleArm, ...]]  # by variant


class LiveExperiments:
    """The experiments of `folder` over the `parts` of one bundle; `folder` None = none, for good.

    `bundles` holds those of variants. `follow` looks at it no more often than every `every` seconds. `prove` raises
    BundleError for parts that fail.
    """

    prove: Callable[[Parts], None] = staticmethod(lambda parts: None)

    def __init__(
        self,
        folder: Path | None,
        parts: Parts,
        builder: ArmBuilder,
        *,
        bundles: VariantBundles,
        every: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder, self._every, self._clock = folder, every, clock
        self.bundles, self._begun = bundles, False
        self.renew(parts, builder)

    def renew(self, parts: Parts, builder: ArmBuilder) -> None:
        """Begin again over other parts of the same models."""
        self._parts, self.builder = parts, builder
        self._looked = -float("inf")
        self._seen: tuple[object, ...] = ()  # what of the folder and of its bundles may change
        self._built: dict[ArmKey, tuple[str, Arm]] = {}  # hash of the file, arm
        self._read = FolderContent()
        self._serving: tuple[FolderContent, Mapping[str, Arms]] = (FolderContent(), {})

    @property
    def content(self) -> FolderContent:
        """What is served of the folder, and what is wrong with the rest."""
        return self._serving[0]

    @property
    def engines(self) -> list[BundleEngine]:
        """Of the bundles of variants."""
        return [arm.engine for arm in self.bundles.arms]

    def engine_of(self, slate: Slate) -> BundleEngine | None:
        """That which answered a slate; None = the engine of the bundle in force."""
        return next((arm.engine for arm in self.bundles.arms if arm.versions == slate.versions), None)

    def arm_of(self, policy: ValuePolicy) -> PolicyArm:
        """Of a policy that is only tried; raises BundleError where the bundle cannot serve it."""
        if policy.slate is not None and policy.slate.exposure and self._parts.valuation.exposure is None:
            raise BundleError(f"policy {policy.name!r} promises exposure, whose prices are learned by serving it alone")
        return self.builder.policy(self._of_market(policy), None)

    def follow(self) -> None:
        """Take over what changed in the folder."""
        now = self._clock()
        if self._folder is None or now - self._looked < self._every:
            return
        self._looked = now
        try:
            seen = (*_stamps(self._folder), *self.bundles.stamps(_bundle_names(self._read)))
            if seen != self._seen or self.bundles.arrived:
                self._load(self._folder)
                self._seen = seen
        except Exception as error:  # whatever is wrong in the folder, answers must go on; it is looked at again
            self._fail(str(self._folder), f"{type(error).__name__}: {error}")
        self._begun = True

    def of(self, request: Request) -> RequestVariants:
        """The variants that answer a request: of experiments that run at its time, on its surface, with its unit."""
        content, arms = self._serving
        if not content.experiments:
            return NO_VARIANTS
        variants: dict[str, str] = {}
        without_unit = []
        for placed in content.experiments:
            one = placed.experiment
            if not one.start <= request.time < one.end or (one.surfaces and request.surface not in one.surfaces):
                continue
            unit = request_unit(request, one)
            if unit is None:
                without_unit.append(one.name)
            elif (variant := placed.variant_of(unit)) is not None:
                variants[one.name] = variant
        used = [arm for name, variant in variants.items() for arm in arms[name][variant]]
        bundle = next((arm for arm in used if isinstance(arm, BundleArm)), None)
        own = tuple(arm for arm in used if not isinstance(arm, BundleArm))
        return RequestVariants(variants, own, tuple(without_unit), bundle)

    def _load(self, folder: Path) -> None:
        self._read = read_folder(folder, before=self._read)
        experiments, faults, arms = [], dict(self._read.faults), {}
        self.bundles.keep(_bundle_names(self._read))
        for placed in self._read.experiments:
            name = placed.experiment.name
            if not self.bundles.loads and any(one.bundle for one in placed.experiment.variants):
                continue
            try:
                arms[name] = {one.name: tuple(self._arms(placed, one, faults)) for one in placed.experiment.variants}
                experiments.append(placed)
            except Exception as error:  # whatever is wrong with one experiment, the others' decisions are followed
                faults[placed.file.name] = f"{placed.file}: {error}"
        used = [arm for one in arms.values() for pair in one.values() for arm in pair]
        self._parts.arms.update({arm.version: arm for arm in used if not isinstance(arm, BundleArm)})
        self._serving = (FolderContent(tuple(experiments), faults), arms)
        for placed in experiments:
            logger.info("experiment %s: %s", placed.experiment.name, placed.state)
        for fault in faults.values():
            logger.error("experiment refused: %s", fault)

    def _fail(self, folder: str, fault: str) -> None:
        content, arms = self._serving
        if content.faults.get(folder) != fault:
            logger.exception("experiments cannot be followed: %s", fault)
        self._serving = (replace(content, faults={**content.faults, folder: fault}), arms)

    def _arms(self, placed: PlacedExperiment, variant: Variant, faults: dict[str, str]) -> Iterator[Arm | BundleArm]:
        """The variant's; raises what is wrong with a file of which no arm was ever made, or with a bundle."""
        if variant.bundle is not None and variant.name not in placed.state.stopped:
            yield self.bundles.of(variant.bundle, wait=not self._begun)
        policy = partial(self._policy, turns=variant.interleave)
        for path, build in ((variant.policy, policy), (variant.surfaces, self._recipes)):
            if path is None:
                continue
            key, file = (placed.experiment.name, path, variant.interleave), placed.file.parent / path
            try:
                digest = hashlib.sha256(file.read_bytes()).hexdigest() if path.endswith(".toml") else path
                if key not in self._built or self._built[key][0] != digest:
                    arm = build(file)
                    self.prove(self._parts.under([arm]))
                    self._built[key] = (digest, arm)
            except Exception as error:  # the last good arm stays
                if key not in self._built:
                    raise
                faults[placed.file.name] = f"{file}: {error}"
            yield self._built[key][1]

    def _policy(self, file: Path, *, turns: TurnRule | None) -> Arm:
        if self._parts.staged is not None:
            raise BundleError(
                f"policy {self._parts.staged.version} is staged to a share of the shoppers, beside which no experiment "
                "changes policies: publish it to everybody, or roll it back"
            )
        policy = variant_policy(file)
        promising = [one for one in (policy, self._parts.valuation.policy) if one.slate and one.slate.exposure]
        if promising:
            raise BundleError(
                f"policy {promising[0].name!r} promises merchants exposure, over all shoppers: it is no variant, nor "
                "served beside one"
            )
        return self.builder.policy(self._of_market(policy), turns)

    def _of_market(self, policy: ValuePolicy) -> ValuePolicy:
        if policy.currency != self._parts.currency:
            raise BundleError(f"policy {policy.name!r} is in {policy.currency}, the market in {self._parts.currency}")
        return policy

    def _recipes(self, file: Path) -> Arm:
        return self.builder.recipes(file)


def request_unit(request: Request, experiment: Experiment) -> str | None:
    """A request's unit in an experiment; None where it lacks one."""
    return unit_of(
        experiment,
        user_id=request.user_id,
        session_id=request.session_id,
        merchant_id=request.page_merchant_id,
        context=request.context,
        time=request.time,
    )


def _bundle_names(content: FolderContent) -> set[str]:
    """Of the variants that are not stopped."""
    return {
        variant.bundle
        for placed in content.experiments
        for variant in placed.experiment.variants
        if variant.bundle is not None and variant.name not in placed.state.stopped
    }


def _stamps(folder: Path) -> Iterator[FileStamp]:
    """Of every file that counts."""
    for file in sorted([*folder.rglob("*.toml"), *folder.glob("*.json")]):
        stat = file.stat()
        yield str(file), stat.st_ino, stat.st_mtime_ns, stat.st_size
