"""What an engine is made of, and the same with what an experiment changes of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from features.encoder import Encoder
from features.text.lexical_index import LexicalIndex
from marketplace.slate import Slate
from serving.arms import Arm, PolicyArm
from serving.candidate_generation import CandidateGenerator
from serving.config import ServingConfig
from serving.item_table import ItemTable
from serving.scorer import Scorer
from serving.slate_selection import SlateSelector
from serving.staging import IN_FORCE, STAGED, StagedPolicy
from serving.valuation import Valuation


@dataclass(frozen=True, eq=False)
class Parts:
    """What an engine is made of.

    `versions` has the names of `marketplace.schema.VERSION_PARTS`; a bundle's store knows what happened before
    `known_until`, and the log tells the rest. `staged`: a policy that some shoppers see instead of the one in force.
    `arms`, by version: the staged policy, and what experiments change.
    """

    bundle: str
    versions: Mapping[str, str]
    currency: str
    known_until: datetime
    config: ServingConfig
    encoder: Encoder
    item_table: ItemTable
    lexical_index: LexicalIndex | None  # of words; None = names and queries are none
    candidate_generator: CandidateGenerator
    scorer: Scorer
    first_phase: Scorer | None  # chooses the candidates that `scorer` ranks; None = it ranks all
    valuation: Valuation
    slate_selector: SlateSelector
    staged: StagedPolicy | None = None
    arms: dict[str, Arm] = field(default_factory=dict)

    def for_shopper(self, user_id: str) -> Parts:
        """The parts with the policy that this shopper sees."""
        return self.under([self.staged.arm]) if self.staged is not None and self.staged.takes(user_id) else self

    def of_slate(self, slate: Slate) -> Parts:
        """The parts that answered a slate: with what its versions name, where an experiment changed it."""
        versions = slate.versions
        return self.under(arm for part in ("policy", "surfaces") if (arm := self.arms.get(versions.get(part, ""))))

    def under(self, arms: Iterable[Arm]) -> Parts:
        """The parts with what the arms change."""
        parts = self
        for arm in arms:
            if isinstance(arm, PolicyArm):
                versions = {**parts.versions, "policy": arm.version}
                parts = replace(parts, versions=versions, valuation=arm.valuation, slate_selector=arm.slate_selector)
            else:
                versions = {**parts.versions, "surfaces": arm.version}
                parts = replace(parts, versions=versions, candidate_generator=arm.candidate_generator)
        return parts

    @property
    def trial(self) -> dict[str, str]:
        """While a policy is staged: its experiment, named after its version, and whose side these parts are on."""
        if self.staged is None:
            return {}
        side = STAGED if self.versions["policy"] == self.staged.version else IN_FORCE
        return {f"policy {self.staged.version}": side}
