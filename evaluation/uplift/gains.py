"""Gains by the best-scored share: Qini and uplift curves, their areas, and uplift@k, for many weightings of the units.

Rows by falling score, rows of equal score in one step; at the end of each step n rows are taken, of them n_t treated
and n_c control, whose outcomes sum to y_t and y_c (each over its P(arm | x) where that differs by row):

    Qini(n)   = y_t - y_c n_t / n_c             extra outcome among the treated (Radcliffe 2007)
    uplift(n) = (y_t / n_t - y_c / n_c) n       extra outcome if all n were treated

An area is that between the curve and the straight line to its end, which a score that tells nothing follows: 0 exactly
for a score that is the same for all. Normalised, it is over the area of the best order in hindsight (for 0/1 outcomes
as scikit-uplift has it). The sort is done once; each weighting of the units costs one pass.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CELLS = np.array([0.0, 1.0, 0.0, 1.0]), np.array([False, False, True, True])  # outcome and treated of four kinds of row


@dataclass(frozen=True)
class Steps:
    """Sums over the rows taken, at the start (0) and at the end of every step: float64 [S + 1] each."""

    rows: np.ndarray
    treated: np.ndarray
    control: np.ndarray
    treated_outcome: np.ndarray
    control_outcome: np.ndarray

    @property
    def qini(self) -> np.ndarray:
        """[S + 1]: the Qini curve."""
        return self.treated_outcome - self.control_outcome * _share(self.treated, self.control)

    @property
    def uplift(self) -> np.ndarray:
        """[S + 1]: the uplift curve."""
        rates = _share(self.treated_outcome, self.treated) - _share(self.control_outcome, self.control)
        return rates * self.rows

    def uplift_at(self, share: float) -> float:
        """Treated minus control rate of the first floor(share n) rows; of a step that this cuts, every row in part."""
        taken = np.floor(share * self.rows[-1] * (1 + 1e-12))
        sums = (self.treated_outcome, self.treated, self.control_outcome, self.control)
        treated_outcome, treated, control_outcome, control = (np.interp(taken, self.rows, column) for column in sums)
        if not treated or not control:
            return np.nan
        return float(treated_outcome / treated - control_outcome / control)


@dataclass(frozen=True)
class GainSums:
    """Rows by falling score, sorted once: `row` int [N] (positions of before), `last` int [S]: where each step ends.

    `columns` float64 [4, N]: treated, control, treated outcome, control outcome of each row.
    """

    row: np.ndarray
    last: np.ndarray
    columns: np.ndarray
    counted: bool  # whether treated and control are plain counts

    def __call__(self, weight: np.ndarray | None = None) -> Steps:
        """The sums for rows that count `weight` [N], in the order of before; None = once."""
        times = None if weight is None else weight[self.row].astype(np.float64)
        sums = [self._running(column if times is None else column * times) for column in self.columns]
        if self.counted:
            return Steps(sums[0] + sums[1], *sums)
        return Steps(self._running(np.ones(len(self.row)) if times is None else times), *sums)

    def _running(self, column: np.ndarray) -> np.ndarray:
        """[S + 1]: its sum up to each step's end. A column at a time: what fits a core's cache."""
        running = np.zeros(len(self.last) + 1)
        if len(self.last) == len(column):
            np.cumsum(column, out=running[1:])
        else:
            running[1:] = np.cumsum(column)[self.last]
        return running


def gain_sums(
    score: np.ndarray, outcome: np.ndarray, treated: np.ndarray, *, propensity: np.ndarray | None = None
) -> GainSums:
    """Sort N rows once; treated bool [N], `propensity` [N] = P(treated | x), None = the same for all."""
    row = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.append(score[row][1:] != score[row][:-1], True))
    treated, outcome = treated[row].astype(np.float64), outcome[row]
    sides = np.array([treated, 1 - treated])
    if propensity is not None:
        sides /= np.array([propensity[row], 1 - propensity[row]])
    return GainSums(row, last, np.concatenate([sides, sides * outcome]), propensity is None)


def area(rows: np.ndarray, curve: np.ndarray) -> float:
    """Between a curve and the straight line from its start to its end, in rows times the curve's unit."""
    return float(np.diff(rows) @ (curve[1:] + curve[:-1]) / 2 - rows[-1] * curve[-1] / 2)


@dataclass(frozen=True)
class NormalisedAreas:
    """Qini and AUUC of one score: areas over those of the best order in hindsight; NaN where that gains nothing."""

    model: GainSums
    best_qini: GainSums
    best_uplift: tuple[GainSums, GainSums] | None  # of 0/1 outcomes, by which of two kinds is the rarer
    cell: np.ndarray | None  # int [N]: of 0/1 outcomes, which of the four kinds of row that the best orders hold

    def __call__(self, steps: Steps, weight: np.ndarray | None = None) -> tuple[float, float]:
        """(Qini, AUUC) from the model's sums under the same weights."""
        if self.cell is not None:
            weight = np.bincount(self.cell, weight, minlength=len(CELLS[0]))
        best = self.best_qini(weight)
        qini = _ratio(area(steps.rows, steps.qini), area(best.rows, best.qini))
        if self.best_uplift is not None:
            best = self.best_uplift[_responders_prevail(best)](weight)
        return qini, _ratio(area(steps.rows, steps.uplift), area(best.rows, best.uplift))


def normalised_areas(
    score: np.ndarray, outcome: np.ndarray, treated: np.ndarray, *, propensity: np.ndarray | None = None
) -> NormalisedAreas:
    """Sort by the score, and by what would have been best: treated with the outcome first, control with it last."""
    model = gain_sums(score, outcome, treated, propensity=propensity)
    binary, cell = bool(np.isin(outcome, (0, 1)).all()), None
    if binary and propensity is None:
        cell = (outcome + 2 * treated).astype(np.int64)
        outcome, treated = CELLS

    def sums(by: np.ndarray) -> GainSums:
        return gain_sums(by, outcome, treated, propensity=propensity)

    best, uplift = sums(outcome * treated - outcome * ~treated), None
    if binary:
        agree = 2.0 * (outcome == treated)
        uplift = (sums(agree + treated), sums(agree + outcome))
    return NormalisedAreas(model, best, uplift, cell)


def _responders_prevail(steps: Steps) -> bool:
    """Of 0/1 outcomes: whether more of control respond than of the treated do not."""
    return bool(steps.control_outcome[-1] > steps.treated[-1] - steps.treated_outcome[-1])


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else np.nan
