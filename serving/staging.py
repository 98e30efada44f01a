"""Staged policy: another value policy over the same models, tried on a share of the shoppers beside the one in force.

A shopper stays on one side: u = 8 bytes of BLAKE2b(salt, user id) / 2^64 is uniform on [0, 1), and the staged policy
takes u < share. The salt is the policy's version: a larger share keeps everybody that a smaller one took, and another
policy draws anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

from serving.slate_selection import SlateSelector
from serving.valuation import Valuation

STAGED, IN_FORCE = "staged", "in force"  # variants of a slate


def staged_for(user_id: str, *, version: str, share: float) -> bool:
    """Whether a shopper sees the policy of that `version`, which a `share` (0 to 1) of all do."""
    digest = blake2b(f"{version}\0{user_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) < share * 2.0**64


@dataclass(frozen=True, eq=False)
class StagedPolicy:
    """The policy of `version`, which a `share` of shoppers sees; `valuation` and `slate_selector` are its own."""

    version: str
    share: float
    valuation: Valuation
    slate_selector: SlateSelector

    def takes(self, user_id: str) -> bool:
        return staged_for(user_id, version=self.version, share=self.share)
