"""Publish a value policy: checked on the requests at hand, put in force over the models that serve, rolled back.

What it is tried on: the held-out requests of a run, else those of the service's log, else nothing.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from desk.publication import SavedVersion
from desk.versions import VersionRecord
from serving.policies_in_force import PoliciesInForce, PublishRequest
from value_model.formula import ValuePolicy, load_policy

if TYPE_CHECKING:
    from desk.material import Material


def policies_in_force(folder: Path) -> PoliciesInForce:
    """Those of a folder, tried on its requests; raises BundleError."""
    return PoliciesInForce(folder, material_of=tried_on)


def publish_policy(path: Path, folder: Path, request: PublishRequest) -> None:
    """Check the policy file, put it in force, and print what changed.

    Raises PolicyError for a file that cannot be read, and what `PoliciesInForce` raises.
    """
    policies = policies_in_force(folder)
    _warn(policies)
    _print(policies.put(load_policy(path), request, now=datetime.now(UTC)), policies)


def roll_back_policy(folder: Path, request: PublishRequest, *, number: int | None) -> None:
    """End the trial, or put the version before (or `number`) in force again."""
    policies = policies_in_force(folder)
    _warn(policies)
    owner, reason = request.owner, request.reason
    _print(policies.roll_back(number, owner=owner, reason=reason, now=datetime.now(UTC)), policies)


def tried_on(folder: Path, policy: ValuePolicy) -> Material | None:
    """The requests of a folder, with what the policy reads."""
    from jobs.open_desk import material_of  # seconds, which showing and rolling back need not wait for

    return material_of(folder, also=policy, searched=False)


def _warn(policies: PoliciesInForce) -> None:
    for warning in policies.warnings(now=datetime.now(UTC)):
        print(f"   warning: {warning}")


def print_served(folder: Path) -> None:
    """What is served now, and the history."""
    policies = policies_in_force(folder)
    _print_in_force(policies)
    for entry in policies.history():
        print(f"   {_line(entry)}")


def _print(saved: SavedVersion, policies: PoliciesInForce) -> None:
    for line in (*saved.record.noted, *policies.changes_of(saved.record)):
        print(f"   {line}")
    print(f"   {_line(saved.record)}")
    _print_in_force(policies)


def _print_in_force(policies: PoliciesInForce) -> None:
    served, link = policies.served(), policies.folder / "bundle"
    print(f"   served now: {served.policy.name}, version {served.policy.version}, bundle {policies.manifest.version}")
    if served.trial is not None:
        print(f"   staged to {served.trial.share:.0%} of the shoppers: version {served.trial.policy.version}")
    print(f"   {link} points to {link.resolve()}; running services load it now")


def _line(entry: VersionRecord) -> str:
    share = "" if entry.share == 1 else f" to {entry.share:.0%} of the shoppers"
    agreed = f", agreed by {', '.join(entry.approved_by)}" if entry.approved_by else ""
    bundle = f" with bundle {entry.bundle}" if entry.bundle else ""
    return (
        f"{entry.number} {entry.version} {entry.kind}{share}{bundle} by {entry.owner}{agreed} at {entry.at}: "
        f"{entry.reason}"
    )
