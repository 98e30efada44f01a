"""Many questions at once: p-values adjusted so that what is then below alpha keeps its promise.

`p` [M]; a NaN was no question and stays one. Over metrics that each may decide, Holm; over segments that are looked
through for what stands out, Benjamini-Hochberg.
"""

from __future__ import annotations

import numpy as np


def holm(p: np.ndarray) -> np.ndarray:
    """P(any false alarm) <= alpha (Holm 1979): the k-th smallest of M times M - k + 1, never below a smaller one's."""
    return _stepped(p, lambda ordered, m: np.maximum.accumulate(ordered * np.arange(m, 0, -1)))


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """Expected share of false among the alarms <= alpha (Benjamini & Hochberg 1995): the k-th smallest times M / k."""
    return _stepped(p, lambda ordered, m: np.minimum.accumulate((ordered * m / np.arange(1, m + 1))[::-1])[::-1])


def _stepped(p: np.ndarray, adjust) -> np.ndarray:
    p = np.asarray(p, float)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    result = np.full(len(p), np.nan)
    result[order] = np.minimum(adjust(p[order], len(order)), 1.0) if len(order) else []
    return result
