"""The policy file's [slate] section: what a slate must respect and how it explores, as plain numbers.

`value_model.slate_policies.from_policy` builds the slate policy from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class DiversityKind(StrEnum):
    """How likeness to the items above is charged."""

    MMR = "mmr"
    DPP = "dpp"


@dataclass(frozen=True)
class DiversitySection:
    """`strength` in the policy's unit: what a perfect repeat costs; the likeness parts sum to 1."""

    kind: DiversityKind
    strength: float
    merchant: float = 0.0
    category: float = 0.0
    embedding: float = 0.0


class ExplorationKind(StrEnum):
    """Where the randomness lies: in the places, or in the weights."""

    PLACKETT_LUCE = "plackett_luce"
    EPSILON = "epsilon"
    PERTURBED_WEIGHTS = "perturbed_weights"


@dataclass(frozen=True)
class ExplorationSection:
    """`amount`: temperature in the policy's unit, epsilon as a probability, or sigma; `weights` for the latter."""

    kind: ExplorationKind
    amount: float
    weights: tuple[str, ...] = ()


MOST_PERTURBED = 10  # weights: 1024 draws, each of which is ranked to count the exact propensities


@dataclass(frozen=True)
class ExposureSection:
    """What merchants are promised of the places shown, kept by prices that are added to their items' values.

    `guaranteed` (merchant id, least share); `fair`: each merchant's least share relative to its share of the merit at
    hand, 0 = none. `rate`: how far a price moves after a slate, per share that was missed; `highest_price`: beyond it a
    promise is broken rather than the page ruined. Both in the policy's unit.
    """

    rate: float
    highest_price: float
    guaranteed: tuple[tuple[str, float], ...] = ()
    fair: float = 0.0


AMOUNT = {
    ExplorationKind.PLACKETT_LUCE: "temperature",
    ExplorationKind.EPSILON: "epsilon",
    ExplorationKind.PERTURBED_WEIGHTS: "sigma",
}


@dataclass(frozen=True)
class SlateSection:
    """Caps per slate (None = none), the least number of newcomers' items, diversity, exploration and exposure."""

    merchant_cap: int | None = None
    category_cap: int | None = None
    newcomers: int = 0
    diversity: DiversitySection | None = None
    exploration: ExplorationSection | None = None
    exposure: ExposureSection | None = None
