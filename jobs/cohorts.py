"""Cohorts of a run: shoppers, items and merchants that no request of its training period had, and the others."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evaluation.cohorts import KNOWN, NEW
from marketplace.slate_columns import flat, request_of_rows


def newcomers(slates: pa.Table, train: np.ndarray) -> dict[str, np.ndarray]:
    """bool [N] by name ("new items", ...): rows whose shopper, item or merchant no request of `train` had."""
    request = request_of_rows(slates)
    shopper = _unknown(slates["user_id"].combine_chunks(), train)
    rows = {name: _unknown(flat(slates, f"{name}_id"), train[request]) for name in ("item", "merchant")}
    return {"new shoppers": shopper[request]} | {f"{NEW}{name}s": unknown for name, unknown in rows.items()}


def with_known(new: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Each of the new cohorts that has a row, and after it the rest of the rows as the known one."""
    both: dict[str, np.ndarray] = {}
    for name, rows in new.items():
        if rows.any():
            both |= {name: rows, name.replace(NEW, KNOWN): ~rows}
    return both


def _unknown(names: pa.Array, trained: np.ndarray) -> np.ndarray:
    """bool: where a name is not among those of the `trained` rows; what has no name is not new."""
    names = names.cast(pa.string())
    known = pc.is_in(names, pc.unique(names.filter(pa.array(trained)))).to_numpy(zero_copy_only=False)
    return ~known & names.is_valid().to_numpy(zero_copy_only=False)
