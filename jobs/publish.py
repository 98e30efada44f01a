"""Publish a value policy: checked on the requests at hand, put in force over the models that serve, rolled back.

What it is tried on: the held-out requests of a run, else those of the service's log, else nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from desk.checks import CheckReport
from desk.desk import Desk, SavedVersion
from desk.policy_changes import changes, merged
from desk.publication import RefusedError, check_agreement, check_base, publish, roll_back
from desk.versions import ChangeNote, VersionOrigin, VersionRecord, Versions, diff
from evaluation.experiments.experiment_folder import EXPERIMENTS, Phase, read_folder
from jobs.open_desk import material_of
from jobs.policy_service import POLICIES, BundleService
from value_model.formula import ValuePolicy, load_policy
from value_model.policy_checks import check_policy

UNTRIED = "There are no requests to try it on: only the file itself was checked."


@dataclass(frozen=True)
class PublishRequest:
    """Who publishes, why, and how; `base` = the version that the file was made from, None = not said."""

    owner: str
    reason: str
    base: str | None = None
    approved_by: Sequence[str] = ()
    share: float = 1.0
    merge: bool = False
    despite: bool = False
    reviewed: bool = False

    def note(self, base: str) -> ChangeNote:
        kind = VersionOrigin.PUBLISHED if self.share == 1 else VersionOrigin.STAGED
        agreed = tuple(self.approved_by)
        return ChangeNote(
            kind, self.owner, self.reason, base=base, approved_by=agreed, share=self.share, reviewed=self.reviewed
        )


def publish_policy(path: Path, folder: Path, request: PublishRequest) -> None:
    """Check the policy file, put it in force, and print what changed.

    Raises PolicyError for a file that cannot be read, BundleError, and what `desk.Desk.put_in_force` raises.
    """
    service, versions = BundleService.of(folder), Versions(folder / POLICIES)
    _warn_of_experiments(folder)
    draft, in_force = load_policy(path), service.served().policy
    base = base_of(request, versions, in_force)
    if request.merge and base != in_force.version:
        draft, base = _together(draft, base, versions, in_force), in_force.version
    note, now = request.note(base), datetime.now(UTC)
    check_base(draft, note.base, in_force, versions)
    check_agreement(in_force, draft, note)
    material = material_of(folder, also=draft, searched=False)
    if material is None:
        print(f"   {UNTRIED}")
        report = CheckReport(tuple(check_policy(draft)), (), ())
        report.refuse(despite=request.despite)
        note = replace(note, noted=report.noted)
        record = publish(draft, note, versions=versions, service=service, now=now)
        saved = SavedVersion(record, diff(in_force, draft, names=(in_force.version, draft.version)))
    else:
        saved = Desk(material).put_in_force(draft, note, now=now, despite=request.despite)
    _print(saved, [str(change) for change in changes(in_force, draft)], service)


def roll_back_policy(folder: Path, request: PublishRequest, *, number: int | None) -> None:
    """End the trial, or put the version before (or `number`) in force again."""
    service, versions = BundleService.of(folder), Versions(folder / POLICIES)
    _warn_of_experiments(folder)
    before = service.served().policy
    note = ChangeNote(VersionOrigin.ROLLED_BACK, request.owner, request.reason)
    record = roll_back(number, note, versions=versions, service=service, now=datetime.now(UTC))
    after = service.served().policy
    saved = SavedVersion(record, diff(before, after, names=(before.version, after.version)))
    _print(saved, [str(change) for change in changes(before, after)], service)


def _warn_of_experiments(folder: Path) -> None:
    """Name the experiments that run and change policies or bundles: their control is what is published."""
    now = datetime.now(UTC)
    for placed in read_folder(folder / EXPERIMENTS).experiments:
        one = placed.experiment
        if placed.phase(now) is Phase.RUNNING and any(variant.policy or variant.bundle for variant in one.variants):
            print(
                f"   warning: the experiment {one.name} runs until {one.end:%Y-%m-%d %H:%M} UTC, and what is published "
                "is its control: from now on it compares something else. Better end the one before the other "
                f"(`value-model experiment stop {folder} {one.name}`)."
            )


def print_served(folder: Path) -> None:
    """What is served now, and the history."""
    service = BundleService.of(folder)
    _print_in_force(service)
    for entry in Versions(folder / POLICIES).entries():
        print(f"   {_line(entry)}")


def base_of(request: PublishRequest, versions: Versions, in_force: ValuePolicy) -> str:
    """The version that the file was made from; before anything was published that is what is in force.

    Raises RefusedError where it is not said, and others may have published since.
    """
    if request.base is not None:
        numbers = {str(entry.number): entry.version for entry in versions.entries()}
        return numbers.get(request.base, request.base)
    if versions.entries():
        raise RefusedError(
            f"not published: say which version the file was made from, with --base. In force is {in_force.version}; "
            f"write --base {in_force.version} if you began with that one, so that nobody's change is lost."
        )
    return in_force.version


def _together(draft: ValuePolicy, base: str, versions: Versions, in_force: ValuePolicy) -> ValuePolicy:
    """Both sides' changes; raises MergeConflict, and RefusedError where the base is not on record."""
    before = versions.of_version(base)
    if before is None:
        raise RefusedError(f"not merged: version {base} is not on record in {versions.folder}.")
    return merged(before, in_force, draft)


def _print(saved: SavedVersion, changed: Sequence[str], service: BundleService) -> None:
    for line in (*saved.record.noted, *changed):
        print(f"   {line}")
    print(f"   {_line(saved.record)}")
    _print_in_force(service)


def _print_in_force(service: BundleService) -> None:
    served, bundle = service.served(), (service.folder / "bundle").resolve()
    print(f"   served now: {served.policy.name}, version {served.policy.version}, bundle {service.manifest.version}")
    if served.trial is not None:
        print(f"   staged to {served.trial.share:.0%} of the shoppers: version {served.trial.policy.version}")
    print(f"   {service.folder / 'bundle'} points to {bundle}; running services load it now")


def _line(entry: VersionRecord) -> str:
    share = "" if entry.share == 1 else f" to {entry.share:.0%} of the shoppers"
    agreed = f", agreed by {', '.join(entry.approved_by)}" if entry.approved_by else ""
    return f"{entry.number} {entry.version} {entry.kind}{share} by {entry.owner}{agreed} at {entry.at}: {entry.reason}"
