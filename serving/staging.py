"""Staged policy: another value policy over the same models, tried on a share of the shoppers beside the one in force.

A shopper stays on one side: the staged policy takes those whose draw u (`evaluation.experiments.assignment`) lies below
the share. The salt is the policy's version: a larger share keeps everybody that a smaller one took, and another policy
draws anew.
"""

from __future__ import annotations

from dataclasses import dataclass

from evaluation.experiments.assignment import uniform
from serving.arms import PolicyArm

STAGED, IN_FORCE = "staged", "in force"  # variants of a slate


def staged_for(user_id: str, *, version: str, share: float) -> bool:
    """Whether a shopper sees the policy of that `version`, which a `share` (0 to 1) of all do."""
    return bool(uniform(version, [user_id])[0] < share)


@dataclass(frozen=True, eq=False)
class StagedPolicy:
    """The policy of `arm`, which a `share` of shoppers sees."""

    arm: PolicyArm
    share: float

    @property
    def version(self) -> str:
        return self.arm.version

    def takes(self, user_id: str) -> bool:
        return staged_for(user_id, version=self.version, share=self.share)
