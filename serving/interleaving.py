"""Interleaved policies: the one in force and a rival value the same candidates, and one list mixes their slates.

Neither explores, so that which list is shown is the only chance and propensities are exact; both have the same rules,
which every list keeps.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from evaluation.experiments.interleaving import TurnRule
from serving.manifest import BundleError
from value_model.formula import ValuePolicy
from value_model.slate_policies.slate_section import SlateSection


@dataclass(frozen=True, eq=False)
class Rival:
    """The other team's policy, and whose turn is when."""

    policy: ValuePolicy
    turns: TurnRule


def interleaved_version(in_force: str, rival: str, turns: TurnRule) -> str:
    """Of two policies' versions: what slates that mix them are logged under."""
    return hashlib.sha256(f"{turns} {in_force} {rival}".encode()).hexdigest()[:12]


def teams(in_force: ValuePolicy, policy: ValuePolicy, turns: TurnRule | None) -> tuple[str, ValuePolicy, Rival | None]:
    """Version, policy and rival of slates by `policy`, or of those that mix it with the one in force.

    Interleaved, both are without their exploration. Raises BundleError where no list could keep to both.
    """
    if turns is None:
        return policy.version, policy, None
    _check_rules(in_force, policy)
    version = interleaved_version(in_force.version, policy.version, turns)
    return version, _alone(in_force), Rival(_alone(policy), turns)


def _check_rules(in_force: ValuePolicy, rival: ValuePolicy) -> None:
    ours, theirs = (policy.slate or SlateSection() for policy in (in_force, rival))
    if ours.rules != theirs.rules:
        raise BundleError(
            f"policy {rival.name!r} is to be interleaved and has other rules of the slate than {in_force.name!r}, "
            "which is in force: give both the same, or compare them without interleave"
        )
    if ours.new_items is not None:
        raise BundleError(
            f"policy {in_force.name!r} draws places for new items, so that its slate is not one list to be mixed: "
            "compare the policies without interleave"
        )


def _alone(policy: ValuePolicy) -> ValuePolicy:
    return policy if policy.slate is None else replace(policy, slate=replace(policy.slate, exploration=None))
