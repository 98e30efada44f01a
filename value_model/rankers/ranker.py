"""What a ranker is: every implementation trains on, and predicts from, the same packed inputs.

Heads (units): ctr P(click | shown), cvr P(order | click), order_value E[value | order] in currency. Composed:
ctcvr = ctr * cvr and gmv = ctr * cvr * order_value, per impression. Purchase-only data has no click: there the
heads are ctcvr (P(order | candidate)) and order_value, and gmv = ctcvr * order_value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from features.spec import ModelInputs

CLICK_HEADS = ("ctr", "cvr", "order_value")
PURCHASE_HEADS = ("ctcvr", "order_value")


@dataclass(frozen=True)
class Labels:
    """float32 [N] each; order_value in currency, 0 where not ordered; click None in purchase-only data."""

    order: np.ndarray
    order_value: np.ndarray
    click: np.ndarray | None


@dataclass(frozen=True)
class RankingData:
    """Inputs, labels, the shown position (int32 [N], 0 = unknown) and row weights (float32 [N])."""

    inputs: ModelInputs
    labels: Labels
    position: np.ndarray
    weight: np.ndarray


class Ranker(Protocol):
    """Predicts every head for every row."""

    @property
    def heads(self) -> tuple[str, ...]: ...

    def predict(self, inputs: ModelInputs, *, position: np.ndarray | None = None) -> Mapping[str, np.ndarray]:
        """float64 [N] a head, and the composed ctcvr and gmv; position None = neutral, as in serving."""
        ...


def composed(heads: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """`heads` with ctcvr and gmv: the one place where they are multiplied."""
    ctcvr = heads["ctcvr"] if "ctcvr" in heads else heads["ctr"] * heads["cvr"]
    return dict(heads) | {"ctcvr": ctcvr, "gmv": ctcvr * heads["order_value"]}
