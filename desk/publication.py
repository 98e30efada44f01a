"""Publication: a checked policy is put in force by one owner, with the agreement of the others whose parts it changes.

Compare and swap: a policy is published over the version that it was made from. Where somebody published another since,
nothing is lost silently: StaleBase tells what they changed, and holds both sides' changes together where these touch
different parts. The history is written before the service is switched, so that nothing is in force without a line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Protocol

from desk.policy_changes import MergeConflict, changes, merged, owners
from desk.versions import ChangeNote, VersionOrigin, VersionRecord, Versions
from value_model.formula import ValuePolicy


class RefusedError(ValueError):
    """A version that is not put in force, and why."""


class StaleBase(RefusedError):
    """Another version was put in force since; `merged` = both sides' changes, None where they clash."""

    def __init__(self, message: str, *, in_force: ValuePolicy, together: ValuePolicy | None) -> None:
        super().__init__(message)
        self.in_force, self.together = in_force, together


@dataclass(frozen=True)
class PolicyTrial:
    """A policy that a `share` of the shoppers sees, above 0 and below 1."""

    policy: ValuePolicy
    share: float

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ValueError(
                f"the share is {self.share:g}; a policy is staged to one above 0 and below 1, such as 0.1."
            )


@dataclass(frozen=True)
class ServedPolicy:
    """What shoppers get now: a policy, and the trial of another, if there is one."""

    policy: ValuePolicy
    trial: PolicyTrial | None = None


@dataclass(frozen=True)
class SavedVersion:
    """A version that was written, and what changed in the file."""

    record: VersionRecord
    diff: str


class PolicyService(Protocol):
    """Where policies are put in force."""

    def served(self) -> ServedPolicy: ...

    def prepare(self, policy: ServedPolicy) -> Path:
        """All that is needed to serve it, checked, and served by nobody yet; raises ValueError where it cannot be."""
        ...

    def switch(self, prepared: Path) -> None:
        """From now on it is served."""
        ...


@dataclass(frozen=True)
class FolderService:
    """No service: the latest version of the folder counts as in force, the `initial` policy before the first one."""

    versions: Versions
    initial: ValuePolicy

    def served(self) -> ServedPolicy:
        return ServedPolicy(self.versions.latest() or self.initial)

    def prepare(self, policy: ServedPolicy) -> Path:
        return self.versions.folder

    def switch(self, prepared: Path) -> None:
        pass


def publish(
    draft: ValuePolicy,
    note: ChangeNote,
    *,
    versions: Versions,
    service: PolicyService,
    now: datetime,
) -> VersionRecord:
    """Put `draft` in force for `note.share` of the shoppers, over the version `note.base`.

    Raises RefusedError without owner, reason, change or an owner's agreement, and StaleBase.
    """
    with versions.locked():
        served = service.served()
        check_base(draft, note.base, served.policy, versions)
        if draft.version == served.policy.version and (served.trial is None or note.share != 1):
            raise RefusedError("not published: nothing was changed.")
        check_agreement(served.policy, draft, note)
        staged = note.share != 1
        new = replace(served, trial=PolicyTrial(draft, note.share)) if staged else ServedPolicy(draft)
        prepared = service.prepare(new)
        _keep_found(versions, served.policy, now=now)
        record = versions.add(draft, note, now=now)
        service.switch(prepared)
    return record


def roll_back(
    number: int | None, note: ChangeNote, *, versions: Versions, service: PolicyService, now: datetime
) -> VersionRecord:
    """Put version `number` in force again; None = end the trial under way, or else go back to the version before.

    Raises RefusedError without owner or reason, and where nothing is known to go back to.
    """
    _signed(note)
    with versions.locked():
        served = service.served()
        note = replace(note, kind=VersionOrigin.ROLLED_BACK, base=served.policy.version)
        if number is None and served.trial is not None:
            policy, note = served.policy, replace(note, kind=VersionOrigin.UNSTAGED)
        else:
            number = versions.before(served.policy.version) if number is None else number
            if number is None:
                raise RefusedError(f"not rolled back: no version before {served.policy.version} is on record.")
            policy = versions.policy(number)
        prepared = service.prepare(ServedPolicy(policy))
        record = versions.add(policy, note, now=now)
        service.switch(prepared)
    return record


def activate(
    prepared: Path, policy: ServedPolicy, note: ChangeNote, *, versions: Versions, service: PolicyService, now: datetime
) -> VersionRecord:
    """Serve what was prepared and checked before, with the `policy` that it holds.

    Raises RefusedError without owner or reason.
    """
    _signed(note)
    with versions.locked():
        before = service.served().policy
        _keep_found(versions, before, now=now)
        record = versions.add(policy.policy, replace(note, base=before.version), now=now)
        service.switch(prepared)
    return record


def agreement(
    in_force: ValuePolicy, draft: ValuePolicy, *, owner: str, reviewed: bool = False
) -> Mapping[str, tuple[str, ...]]:
    """By owner, other than the one who publishes: what of theirs changes; all guardrails where a baseline is set."""
    needed = dict(owners(in_force, draft))
    if reviewed:
        for constraint in draft.constraints:
            needed[constraint.owner] = (*needed.get(constraint.owner, ()), f"baseline of {constraint.subject}")
    return {name: lines for name, lines in needed.items() if name != owner}


def _signed(note: ChangeNote) -> None:
    if not note.owner.strip() or not note.reason.strip():
        raise RefusedError("not published: a version needs an owner and a reason.")


def check_agreement(in_force: ValuePolicy, draft: ValuePolicy, note: ChangeNote) -> None:
    """Raises RefusedError without owner, reason, or the agreement of an owner whose parts change."""
    _signed(note)
    needed = agreement(in_force, draft, owner=note.owner, reviewed=note.reviewed)
    if missing := {name: lines for name, lines in needed.items() if name not in note.approved_by}:
        needs = "; ".join(f"{name}: {', '.join(lines)}" for name, lines in missing.items())
        raise RefusedError(f"not published: what others own changes, and they must agree first: {needs}.")


def check_base(draft: ValuePolicy, base: str, in_force: ValuePolicy, versions: Versions) -> None:
    """Raises StaleBase where `draft` was made from another version than is in force."""
    if base == in_force.version:
        return
    since = [entry for entry in versions.entries() if entry.version == in_force.version]
    who = f" by {since[-1].owner}: {since[-1].reason}" if since else ""
    message = f"not published: it was made from version {base}, and {in_force.version} is in force since{who}"
    before, together = versions.of_version(base), None
    if before is None:
        raise StaleBase(f"{message}. Version {base} is not on record.", in_force=in_force, together=None)
    their_changes = "; ".join(map(str, changes(before, in_force)))
    try:
        together = merged(before, in_force, draft)
    except MergeConflict as conflict:
        raise StaleBase(f"{message}. {conflict}.", in_force=in_force, together=None) from conflict
    message = f"{message}. It changed {their_changes}, which your changes do not touch: bring it in, look, and publish."
    raise StaleBase(message, in_force=in_force, together=together)


def _keep_found(versions: Versions, policy: ValuePolicy, *, now: datetime) -> None:
    """The first line of a history: what was in force before anything was published."""
    if not versions.entries():
        versions.add(policy, ChangeNote(VersionOrigin.FOUND, policy.owner, policy.reason), now=now)
