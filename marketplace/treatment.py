"""Treatment: which items of the logged lists were shown with one, such as a coupon, and how likely that was."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from marketplace.schema import TREATED, TREATED_CHANCE
from marketplace.slate_columns import item_offsets, names, numeric_features, to_numpy

ARMS = ("treated", "control")  # labels, and the conditions of the heads that are learned of them


def arm_labels(slates: pa.Table) -> dict[str, np.ndarray]:
    """float32 [N] by ARMS: 1 where the item was in that arm, NaN where its list does not say; none where no list does.

    Raises ValueError for a value that is neither 0 nor 1.
    """
    if not recorded_arms(slates):
        return {}
    treated = _of_items(slates, TREATED)
    bad = ~np.isnan(treated) & (treated != 0) & (treated != 1)
    if bad.any():
        raise ValueError(f"{TREATED}: item {bad.argmax()} of the lists is {treated[bad.argmax()]}; give 1 or 0.")
    return {"treated": treated, "control": 1 - treated}


def recorded_arms(slates: pa.Table) -> tuple[str, ...]:
    """ARMS where lists say who was treated, else none."""
    return ARMS if TREATED in names(slates, "numeric") else ()


def treated_chance(slates: pa.Table) -> np.ndarray:
    """float32 [N]: P(treated) as logged, NaN where it was not."""
    return _of_items(slates, TREATED_CHANCE)


def _of_items(slates: pa.Table, name: str) -> np.ndarray:
    """float32 [N] of an entry with a number an item, or one for all of its list."""
    logged, lengths = numeric_features(slates, name), np.diff(item_offsets(slates))
    bad = (logged.lengths > 1) & (logged.lengths != lengths)
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(f"{name}: list {row} has {logged.lengths[row]} numbers, but {lengths[row]} items; one each.")
    values = np.append(to_numpy(logged.values).astype(np.float32), np.float32(np.nan))
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    place = np.repeat(logged.offsets[:-1], lengths) + np.where(np.repeat(logged.lengths, lengths) > 1, within, 0)
    return values[np.where(np.repeat(logged.lengths, lengths) > 0, place, len(values) - 1)]
