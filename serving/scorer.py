"""What predicts calibrated heads for one request's candidates; the engine does not know which."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from features.spec import Feature, FeatureSpec, Group, Kind, ModelInputs

INPUTS = (
    *("user_codes", "user_lists", "user_numbers"),
    *("item_codes", "item_lists", "item_numbers"),
    *("cross_codes", "cross_numbers"),
)
USER_INPUTS, ITEM_INPUTS, CROSS_INPUTS = INPUTS[:3], INPUTS[3:6], INPUTS[6:]
REMOTE, LOCAL = "tf-serving", "local"  # the second with a reason behind it


class ScorerAnswer(dict[str, np.ndarray]):
    """Heads float64 [N] by name, `by` one of the scorers that there are; a scorer that is alone names nobody."""

    def __init__(self, heads: Mapping[str, np.ndarray], *, by: str) -> None:
        super().__init__(heads)
        self.by = by


class ScoringFailed(RuntimeError):
    """A scorer gave no predictions; the cause says why."""


class Scorer(Protocol):
    """Calibrated heads (`marketplace.heads`) by one trained ranker."""

    @property
    def heads(self) -> tuple[str, ...]: ...

    def score(self, inputs: ModelInputs, *, items: np.ndarray | None = None) -> Mapping[str, np.ndarray]:
        """float64 [N] a head for the N rows of one or more requests.

        `items` int32 [N], catalogue rows, lets an implementation keep what depends on the item alone; the answer is the
        same bits with and without.
        """
        ...


def scored(scorer: Scorer, inputs: ModelInputs, *, items: np.ndarray) -> Mapping[str, np.ndarray]:
    """What `scorer.score` gives; raises ScoringFailed, whatever fails in it."""
    try:
        return scorer.score(inputs, items=items)
    except Exception as error:
        raise ScoringFailed(f"{type(error).__name__}: {error}") from error


class NoHeads:
    """The scorer of a cold bundle: the data taught no head; follows `Scorer`."""

    heads: tuple[str, ...] = ()

    def score(self, inputs: ModelInputs, *, items: np.ndarray | None = None) -> Mapping[str, np.ndarray]:
        return {}


def input_widths(spec: FeatureSpec) -> dict[str, int]:
    """Columns of each packed input of a ranker of `spec`, by `ModelInputs` field."""
    widths = {}
    for group in (Group.USER, Group.ITEM):
        widths[f"{group.value}_codes"] = len(spec.select(group, Kind.CATEGORY))
        widths[f"{group.value}_lists"] = sum(map(_length, spec.select(group, Kind.CATEGORIES)))
        widths[f"{group.value}_numbers"] = len(spec.select(group, Kind.NUMBER))
    kinds = {"cross_codes": Kind.CATEGORY, "cross_numbers": Kind.NUMBER}
    return widths | {name: len(spec.select(Group.CROSS, kind)) for name, kind in kinds.items()}


def _length(feature: Feature) -> int:
    return feature.length
