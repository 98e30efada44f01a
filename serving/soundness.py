"""Soundness: which candidates have finite numbers alone, and may be chosen, answered and logged.

A head of a damaged graph, or a formula such as a division by a price of 0, gives NaN or infinity. Such a candidate
takes no part in the choice, and is named in the service's log.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping

import numpy as np

logger = logging.getLogger(__name__)
NAMED = 5  # items of a warning


class NotFinite(ArithmeticError):
    """No candidate of a request has a finite value."""


def finite_candidates(
    columns: Mapping[str, np.ndarray], rows: np.ndarray, *, item_id: np.ndarray, request_id: str
) -> np.ndarray:
    """int64, increasing: the positions [n] at which every one of the columns [n] is finite.

    `rows` [n] of the catalogue's `item_id` are the candidates. Raises NotFinite where there are candidates and none is.
    """
    with np.errstate(over="ignore"):  # the usual case is quick to see
        if all(math.isfinite(values @ values) for values in columns.values()):
            return np.arange(len(rows))
    finite = {name: np.isfinite(values) for name, values in columns.items()}
    broken = {name: ~column for name, column in finite.items() if not column.all()}
    if not broken:
        return np.arange(len(rows))
    out = np.logical_or.reduce(list(broken.values()))
    message = (
        f"request {request_id!r}: {', '.join(broken)} of {out.sum()} of {len(rows)} candidates is not finite "
        f"(items {', '.join(item_id[rows[out][:NAMED]])})"
    )
    if out.all():
        raise NotFinite(f"{message}; none of them can be chosen. Check the bundle's ranker and value policy.")
    logger.warning("%s; they take no part in the choice", message)
    return np.flatnonzero(~out)
