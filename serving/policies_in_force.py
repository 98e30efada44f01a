"""Policies in force: what a service's folder serves, what was published before, and how that changes.

A policy is checked on requests, put in force over the models that serve, for everybody or for a share of the shoppers,
and rolled back; another bundle is made to serve. Each change has an owner, a reason, and a line in the history, which
is written before services are switched. Running services follow the folder's link.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from desk.policy_changes import changes, merged
from desk.publication import (
    RefusedError,
    SavedVersion,
    ServedPolicy,
    activate,
    check_agreement,
    check_base,
    publish,
    roll_back,
)
from desk.versions import ChangeNote, DamagedHistory, VersionOrigin, VersionRecord, Versions, diff
from evaluation.experiments.experiment_folder import EXPERIMENTS, Phase, read_folder
from marketplace.log import LogUnavailable
from serving.bundle_service import POLICIES, BundleService, bundles_of, policy_of_bundle
from serving.manifest import MANIFEST, BundleError, Manifest, read_manifest
from serving.policy_bundle import check_bundle
from value_model.formula import ValuePolicy

if TYPE_CHECKING:
    from desk.material import Material

UNTRIED = "There are no requests to try it on: only the file itself was checked."
# Of a folder, with what a policy reads; None = no requests.
MaterialOf = Callable[[Path, ValuePolicy], "Material | None"]


def no_material(folder: Path, policy: ValuePolicy) -> None:
    """Of a service that was started without a way to read its requests."""


class FolderUnavailable(OSError):
    """The folder cannot be read or written now: says why. What was in force still is."""


class UnknownBundle(KeyError):
    """The folder has no bundle of this id."""


@dataclass(frozen=True)
class PublishRequest:
    """Who publishes, why, and how; `base` = the version that the policy was made from, None = not said.

    `merge`: with what others published since; `despite` guardrails that are expected to break; `reviewed`: guardrails
    are held against this version from now on. `key`: the name of the API key by which it came.
    """

    owner: str
    reason: str
    base: str | None = None
    approved_by: Sequence[str] = ()
    share: float = 1.0
    merge: bool = False
    despite: bool = False
    reviewed: bool = False
    key: str = ""

    def note(self, base: str) -> ChangeNote:
        return ChangeNote(
            VersionOrigin.PUBLISHED if self.share == 1 else VersionOrigin.STAGED,
            self.owner,
            self.reason,
            base=base,
            approved_by=tuple(self.approved_by),
            share=self.share,
            reviewed=self.reviewed,
            key=self.key,
        )


@dataclass(frozen=True)
class BundleListing:
    """A bundle of the folder: its id is its folder's name; `problem` says why it cannot serve as far as is seen."""

    id: str
    in_force: bool
    manifest: Manifest | None
    problem: str | None = None


class PoliciesInForce:
    """The policies and bundles of a service's `folder`; `material_of` gives the requests that policies are tried on.

    Every change raises RefusedError (StaleBase where others published since), MergeConflict, BundleError where the
    folder, a bundle or the policy over its models cannot serve, and FolderUnavailable; then nothing has changed.
    """

    def __init__(self, folder: Path, *, material_of: MaterialOf = no_material) -> None:
        """Raises BundleError for a folder without a bundle, or whose `bundle` is no link."""
        self.service, self.versions = BundleService.of(folder), Versions(folder / POLICIES)
        self._material_of = material_of

    @property
    def folder(self) -> Path:
        return self.service.folder

    @property
    def manifest(self) -> Manifest:
        """Of the bundle that serves."""
        return self.service.manifest

    def served(self) -> ServedPolicy:
        """The policy in force, and the trial of another."""
        return self.service.served()

    def history(self) -> tuple[VersionRecord, ...]:
        """Every change, oldest first."""
        return self.versions.entries()

    def changes_of(self, record: VersionRecord) -> tuple[str, ...]:
        """What a line of the history changed, part by part, of the version before."""
        before = self.versions.of_version(record.base)
        return () if before is None else tuple(map(str, changes(before, self.versions.policy(record.number))))

    def warnings(self, *, now: datetime) -> tuple[str, ...]:
        """The experiments that run and change policies or bundles: their control is what is published."""
        return tuple(
            f"the experiment {placed.experiment.name} runs until {placed.experiment.end:%Y-%m-%d %H:%M} UTC, and what "
            "is published is its control: from now on it compares something else. Better end the one before the other "
            f"(`value-model experiment stop {self.folder} {placed.experiment.name}`)."
            for placed in read_folder(self.folder / EXPERIMENTS).experiments
            if placed.phase(now) is Phase.RUNNING
            and any(variant.policy or variant.bundle for variant in placed.experiment.variants)
        )

    def put(self, policy: ValuePolicy, request: PublishRequest, *, now: datetime) -> SavedVersion:
        """Check a policy and put it in force, for `request.share` of the shoppers."""
        in_force = self.served().policy
        base = self._base(request, in_force)
        if request.merge and base != in_force.version:
            policy, base = self._together(policy, base, in_force), in_force.version
        note = request.note(base)
        check_base(policy, note.base, in_force, self.versions)
        check_agreement(in_force, policy, note)
        material = self._material(policy)
        if material is not None:
            from desk.desk import Desk  # this and what it judges by: what every worker need not hold

            with _written(self.folder):
                return Desk(material).put_in_force(policy, note, now=now, despite=request.despite)
        from desk.checks import CheckReport
        from value_model.policy_checks import check_policy

        report = CheckReport(tuple(check_policy(policy)), (), ())
        report.refuse(despite=request.despite)
        note = replace(note, noted=(UNTRIED, *report.noted))
        with _written(self.folder):
            record = publish(policy, note, versions=self.versions, service=self.service, now=now)
        return SavedVersion(record, _diff(in_force, policy))

    def roll_back(self, number: int | None, *, owner: str, reason: str, now: datetime, key: str = "") -> SavedVersion:
        """Put version `number` in force again; None = end the trial, or else the version before."""
        before, note = self.served().policy, ChangeNote(VersionOrigin.ROLLED_BACK, owner, reason, key=key)
        with _written(self.folder):
            record = roll_back(number, note, versions=self.versions, service=self.service, now=now)
        return SavedVersion(record, _diff(before, self.served().policy))

    def bundles(self) -> tuple[BundleListing, ...]:
        """The bundles of the folder, newest first; their files are hashed when one is activated, not here."""
        return tuple(self._listing(place) for place in reversed(bundles_of(self.folder)))

    def activate(self, bundle: str, *, owner: str, reason: str, now: datetime, key: str = "") -> VersionRecord:
        """Serve another bundle of the folder, with the policy that it holds; a bundle that is refused never serves.

        Raises UnknownBundle for an id that the folder does not have.
        """
        place = next((one for one in bundles_of(self.folder) if one.name == bundle), None)
        if place is None:
            raise UnknownBundle(f"there is no bundle {bundle!r}; GET /v1/bundles lists those that there are")
        if place.resolve() == self.service.bundle:
            raise RefusedError(f"not activated: bundle {bundle} serves already.")
        check_bundle(place)
        note = ChangeNote(VersionOrigin.ACTIVATED, owner, reason, bundle=bundle, key=key)
        policy = policy_of_bundle(place)
        with _written(self.folder):
            return activate(place, policy, note, versions=self.versions, service=self.service, now=now)

    def _listing(self, place: Path) -> BundleListing:
        manifest, problem = None, None
        try:
            manifest = read_manifest(place / MANIFEST)
        except (BundleError, OSError) as error:
            problem = str(error)
        return BundleListing(place.name, place.resolve() == self.service.bundle, manifest, problem)

    def _material(self, policy: ValuePolicy) -> Material | None:
        """The requests that a policy is tried on; None = there are none."""
        try:
            return self._material_of(self.folder, policy)
        except (LogUnavailable, DamagedHistory):
            raise
        except (OSError, ValueError, LookupError) as error:
            message = f"not published: it cannot be tried on the requests of {self.folder}: {error}"
            raise RefusedError(message) from error

    def _base(self, request: PublishRequest, in_force: ValuePolicy) -> str:
        """The version that a policy was made from; before anything was published that is what is in force.

        Raises RefusedError where it is not said, and others may have published since.
        """
        if request.base is not None:
            numbers = {str(entry.number): entry.version for entry in self.history()}
            return numbers.get(request.base, request.base)
        if self.history():
            raise RefusedError(
                f"not published: say which version it was made from, as its base. In force is {in_force.version}; name "
                "that one if you began with it, so that nobody's change is lost."
            )
        return in_force.version

    def _together(self, policy: ValuePolicy, base: str, in_force: ValuePolicy) -> ValuePolicy:
        """Both sides' changes."""
        before = self.versions.of_version(base)
        if before is None:
            raise RefusedError(f"not merged: version {base} is not on record in {self.versions.folder}.")
        return merged(before, in_force, policy)


@contextmanager
def _written(folder: Path) -> Iterator[None]:
    """A change of the folder; raises FolderUnavailable."""
    try:
        yield
    except OSError as error:
        raise FolderUnavailable(
            f"nothing was changed in {folder}: {error}. It must be writable, with room on its disk; then send it again."
        ) from error


def _diff(before: ValuePolicy, after: ValuePolicy) -> str:
    return diff(before, after, names=(before.version, after.version))
