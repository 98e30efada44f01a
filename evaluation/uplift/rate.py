"""RATE: what a priority brings, from doubly robust scores (Yadlowsky, Fleming, Shah, Brunskill & Wager 2025).

With rows by falling priority and TOC(u) = mean score of the first share u minus that of all,

    AUTOC = integral TOC(u) du        where few gain much
    Qini  = integral u TOC(u) du      where many gain a little

each as the mean over the rows. Rows of equal priority share their mean score. Both are 0 exactly for a priority that is
the same for all. The sort is done once; each weighting of the rows costs one pass: in a step of rows C + 1 .. C + W,
the means of the first j sum to differences of harmonic numbers, H(C + W) - H(C).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import digamma


@dataclass(frozen=True)
class PrioritySums:
    """Rows by falling priority: `row` int [N], `last` int [S] where each step ends, `score` float64 [N] as sorted."""

    row: np.ndarray
    last: np.ndarray
    score: np.ndarray

    def __call__(self, weight: np.ndarray | None = None) -> tuple[float, float]:
        """(AUTOC, Qini) for rows that count `weight` [N] times, in the order of before; None = once."""
        times = np.ones(len(self.row)) if weight is None else weight[self.row].astype(np.float64)
        taken = np.append(0.0, np.cumsum(times)[self.last])
        summed = np.append(0.0, np.cumsum(times * self.score)[self.last])
        kept = np.append(True, np.diff(taken) > 0)
        taken, summed = taken[kept], summed[kept]
        rows, size = taken[-1], np.diff(taken)
        if not rows:
            return np.nan, np.nan
        mean = np.diff(summed) / size
        ahead = summed[:-1] - taken[:-1] * mean  # of those before a step, over what they would have at its mean
        autoc = size @ (mean - summed[-1] / rows) + ahead @ np.diff(digamma(taken + 1))
        gain = summed - taken * (summed[-1] / rows)
        gain[-1] = 0.0
        qini = (size @ (gain[:-1] + gain[1:]) + np.diff(gain).sum()) / 2
        return float(autoc / rows), float(qini / rows**2)


def priority_sums(priority: np.ndarray, score: np.ndarray) -> PrioritySums:
    """Sort N rows once."""
    row = np.argsort(-priority, kind="stable")
    last = np.flatnonzero(np.append(priority[row][1:] != priority[row][:-1], True))
    return PrioritySums(row, last, score[row])
