"""Overlap: could every kind of unit have had every arm? Where not, an effect is the model's guess, and no data's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.counterfactual.intervals import kish
from evaluation.uplift.nuisances import LEAST

FEW = 100.0  # effective units of an arm below which its figures are noise
MOST_OUTSIDE = 0.05  # share of rows beyond the bound above which the trial is refused


@dataclass(frozen=True)
class ArmOverlap:
    """Of one arm: the range of its propensity, the share of rows at or below the bound, and how many rows its own are
    worth when each counts 1 / e (Kish)."""

    arm: str
    least: float
    most: float
    outside: float
    effective: float

    def __str__(self) -> str:
        return (
            f"{self.arm}: propensity {self.least:.3g} to {self.most:.3g}, {self.outside:.2%} of rows at or below "
            f"{LEAST:g}, {self.effective:,.0f} effective rows"
        )


class NoOverlap(ValueError):
    """Too many units had one arm for certain: says which, how many, and what to do."""


def arm_overlaps(arm: np.ndarray, propensity: np.ndarray, *, arms: Sequence[str]) -> list[ArmOverlap]:
    """Each arm's overlap, from `arm` int [N] and `propensity` [N, A + 1]."""
    return [_of_arm(name, propensity[:, a], propensity[arm == a, a]) for a, name in enumerate(arms)]


def _of_arm(name: str, propensity: np.ndarray, of_rows: np.ndarray) -> ArmOverlap:
    outside = float((propensity <= LEAST).mean())
    return ArmOverlap(name, float(propensity.min()), float(propensity.max()), outside, kish(1 / of_rows))


def check_overlap(overlaps: Sequence[ArmOverlap]) -> list[str]:
    """What to beware of, in words; raises NoOverlap where an effect would be a guess for more than a few rows."""
    refused = [overlap for overlap in overlaps if overlap.outside > MOST_OUTSIDE]
    if refused:
        raise NoOverlap(
            f"no overlap: {'; '.join(map(str, refused))}. At most {MOST_OUTSIDE:.0%} of rows may be so. Leave out the "
            "units whose arm was certain (they had no chance of another), or treat at random for a while."
        )
    few = [f"few effective rows: {overlap}" for overlap in overlaps if overlap.effective < FEW]
    return few + [f"thin overlap: {overlap}" for overlap in overlaps if overlap.outside > 0]
