"""Hidden ids: in training a share of ids is "unknown", so that the unknown has learned how newcomers fare.

A new merchant's items are new as well: where a merchant is hidden, so is the item.
"""

from __future__ import annotations

import numpy as np

from features.encoder import MISSING, UNKNOWN
from features.spec import Feature

IDS = {"user_id": ("user_id",), "item_id": ("item_id",), "merchant_id": ("merchant_id", "item_id")}  # hidden together


def with_hidden_ids(
    codes: np.ndarray, features: tuple[Feature, ...], *, share: float, rng: np.random.Generator
) -> np.ndarray:
    """`codes` int32 [n, features] of a group's categories, each id of a row hidden with probability `share`."""
    names = [feature.name for feature in features]
    hidden = np.zeros(codes.shape, bool)
    for name, together in IDS.items() if share else ():
        if name in names:
            rows = rng.random(len(codes)) < share
            for one in together:
                if one in names:
                    hidden[rows, names.index(one)] = True
    return np.where(hidden & (codes != MISSING), np.int32(UNKNOWN), codes)
