"""Between the wire and the policies in force: requests as the desk takes them, what is served as JSON."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from desk.publication import PolicyTrial
from desk.versions import VersionRecord, diff
from serving.policies_in_force import BundleListing, PoliciesInForce, PublishRequest
from serving.policy_payloads import (
    BundleList,
    BundleRow,
    HistoryPage,
    PolicyAnswer,
    PolicyChoices,
    PolicyHistory,
    PolicyTrialAnswer,
    ServedBundle,
    ServedPolicyText,
    VersionAnswer,
    VersionLine,
)
from value_model.formula import ValuePolicy, to_toml

CHOICES = ("owner", "reason", "base", "approved_by", "share", "merge", "despite", "reviewed")


def publish_request(choices: PolicyChoices, *, key: str) -> PublishRequest:
    """`key`: the name of the caller's API key."""
    return PublishRequest(**{name: getattr(choices, name) for name in CHOICES}, key=key)


def policy_answer(policies: PoliciesInForce, *, now: datetime) -> PolicyAnswer:
    """What is in force."""
    served, history = policies.served(), policies.history()
    return PolicyAnswer(
        policy=_text(served.policy),
        trial=None if served.trial is None else _trial(served.trial),
        bundle=ServedBundle(id=policies.service.bundle.name, version=policies.manifest.version),
        record=version_line(policies, history[-1]) if history else None,
        warnings=list(policies.warnings(now=now)),
    )


def history_answer(policies: PoliciesInForce, page: HistoryPage) -> PolicyHistory:
    """The newest `page.most` lines before `page.before`."""
    lines = [one for one in policies.history() if page.before is None or one.number < page.before]
    return PolicyHistory(records=[version_line(policies, one) for one in reversed(lines[-page.most :])])


def version_answer(policies: PoliciesInForce, number: int) -> VersionAnswer:
    """A version of the history; raises UnknownVersion."""
    policy = policies.versions.policy(number)
    record = next(one for one in policies.history() if one.number == number)
    before = policies.versions.of_version(record.base)
    changed = "" if before is None else diff(before, policy, names=(before.version, policy.version))
    return VersionAnswer(record=version_line(policies, record), policy=_text(policy), diff=changed)


def version_line(policies: PoliciesInForce, record: VersionRecord) -> VersionLine:
    """A line of the history, with its changes."""
    fields: dict[str, Any] = {name: getattr(record, name) for name in VersionLine.model_fields if name != "changes"}
    listed = {name: list(fields[name]) for name in ("approved_by", "noted")}
    return VersionLine(**fields | listed | {"changes": list(policies.changes_of(record))})


def bundle_list(policies: PoliciesInForce) -> BundleList:
    """The bundles of the folder, newest first."""
    return BundleList(bundles=[_row(one) for one in policies.bundles()])


def _row(listing: BundleListing) -> BundleRow:
    manifest = listing.manifest
    share = None if manifest is None else manifest.facts.get("staged_share")
    return BundleRow(
        id=listing.id,
        in_force=listing.in_force,
        version=None if manifest is None else manifest.version,
        versions={} if manifest is None else dict(manifest.versions),
        staged_share=None if share is None else float(share),
        problem=listing.problem,
    )


def _trial(trial: PolicyTrial) -> PolicyTrialAnswer:
    return PolicyTrialAnswer(share=trial.share, policy=_text(trial.policy))


def _text(policy: ValuePolicy) -> ServedPolicyText:
    return ServedPolicyText(
        name=policy.name, version=policy.version, owner=policy.owner, reason=policy.reason, toml=to_toml(policy)
    )
