"""A figure of one day: its value, and the requests to look at first where it is odd."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

NOWHERE = np.empty(0, np.int64)


@dataclass(frozen=True)
class Figure:
    """`value` on the scale on which it is judged (logarithms of counts and ratios); `requests`: rows of the day."""

    value: float
    requests: np.ndarray = field(default_factory=lambda: NOWHERE)


Figures = Mapping[str, Figure]


def share(part: np.ndarray, rows: np.ndarray, requests: np.ndarray) -> Figure:
    """The share of `rows` (bool) for which `part` (bool) holds, and the requests of these."""
    count = int(rows.sum())
    return Figure(float((part & rows).sum()) / count if count else np.nan, requests[part & rows])


def ratio(above: float, below: float, requests: np.ndarray = NOWHERE, *, least: float = 30) -> Figure:
    """log((above + 1/2) / (below + 1/2)); NaN where there are fewer than `least` below."""
    return Figure(float(np.log((above + 0.5) / (below + 0.5))) if below >= least else np.nan, requests)
