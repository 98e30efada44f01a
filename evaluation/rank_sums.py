"""Areas under curves for many request weightings: the sort is done once, each weighting costs one pass.

With request weights w, S = sum_i w_i y_i m_i over rows i, m_i the weighted mid-rank of row i (weight of the
rows predicted below it + half the weight of its ties). For P = sum w y and W = sum w:
AUC = (S - P^2/2) / (P (W - P)) for y in {0, 1}; Gini covariance = S - P W/2 for y >= 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class RankSums:
    """Rows by rising prediction; of the rows with a label that is not 0, the bounds of their tie group."""

    request: np.ndarray  # int32 [M], rows by rising prediction
    label: np.ndarray  # float64 [P]
    owner: np.ndarray  # int32 [P]: the labelled rows' requests
    low: np.ndarray  # int [P]: rows strictly below
    high: np.ndarray  # int [P]: rows below or tied

    def __call__(self, weight: np.ndarray) -> tuple[float, float, float]:
        """(S, P, W) for request weights [R]."""
        below = np.zeros(len(self.request) + 1, np.int64 if weight.dtype.kind in "ui" else np.float64)
        np.cumsum(weight.take(self.request), out=below[1:], dtype=below.dtype)
        labelled = weight.take(self.owner) * self.label
        rank = (below[self.low] + below[self.high]) / 2
        return float(labelled @ rank), float(labelled.sum()), float(below[-1])


def rank_sums(predictions: np.ndarray, labels: np.ndarray, request: np.ndarray) -> RankSums:
    """Sort M rows of `predictions`, `labels` and their `request` once."""
    order = np.argsort(predictions)
    ordered = predictions[order]
    labelled = np.flatnonzero(labels[order])
    owners = request[order].astype(np.int32)
    low, high = _tie_bounds(ordered)
    return RankSums(owners, labels[order][labelled].astype(np.float64), owners[labelled], low[labelled], high[labelled])


def _tie_bounds(ordered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    first = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))[: len(ordered)]
    size = np.diff(np.append(first, len(ordered)))
    return np.repeat(first, size), np.repeat(first + size, size)


def area(sums: tuple[float, float, float]) -> float:
    """The area under the ROC curve from (S, P, W); NaN without both kinds."""
    total, positive, weight = sums
    pairs = positive * (weight - positive)
    return (total - positive**2 / 2) / pairs if pairs > 0 else np.nan


def gini(sums: tuple[float, float, float], best: tuple[float, float, float]) -> float:
    """The normalised Gini: Gini covariance of the prediction's order over that of the perfect order."""
    possible = best[0] - best[1] * best[2] / 2
    return (sums[0] - sums[1] * sums[2] / 2) / possible if possible > 0 else np.nan
