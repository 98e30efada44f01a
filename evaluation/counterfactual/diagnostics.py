"""Can the log answer at all: effective sample, the weights' tail, support, and whether the propensities are true."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evaluation.counterfactual.refusals import refuse_infinite, refuse_numbers, refuse_probabilities
from evaluation.curves import Curve
from evaluation.estimate import Estimate

TAIL_LIMIT = 0.7  # Vehtari et al. 2024: above this shape, means of the weights are unreliable at any practical size


@dataclass(frozen=True)
class WeightDiagnostics:
    """Of N importance weights. `mean` must be 1: the interval tells whether propensities and support allow that."""

    effective: float  # Kish: (sum w)^2 / sum w^2
    mean: Estimate
    largest_share: float  # of the total weight, in one row
    tail_shape: float  # k of a generalised Pareto on the tail; above 0.7 unreliable, above 0.5 infinite variance
    unsupported: float | None  # policy mass on actions that logging never shows, mean over rows; None = not knowable

    def problems(self, *, fewest: float = 100.0, most_unsupported: float = 0.01) -> list[str]:
        """What stands against trusting an estimate from these weights, in words."""
        problems = []
        if self.effective < fewest:
            problems.append(f"only {self.effective:.0f} effective rows (wanted: {fewest:.0f})")
        if self.tail_shape > TAIL_LIMIT:
            problems.append(f"the weights' tail has shape {self.tail_shape:.2f} (wanted: at most {TAIL_LIMIT})")
        if not self.mean.low <= 1 <= self.mean.high:
            problems.append(f"weights average {self.mean}, not 1: propensities are wrong, or actions were never shown")
        if self.unsupported is not None and self.unsupported > most_unsupported:
            problems.append(f"{self.unsupported:.1%} of the policy's choices were never shown")
        return problems


def weight_diagnostics(
    weight: np.ndarray, *, policy: np.ndarray | None = None, logging: np.ndarray | None = None
) -> WeightDiagnostics:
    """Diagnose weights [N]; with policy and logging [N, A] also the support. Raises ValueError for NaN, infinity."""
    refuse_infinite(weight, name="weight")
    total, squares = weight.sum(), (weight**2).sum()
    half = 1.96 * weight.std() / np.sqrt(len(weight))
    mean = Estimate(float(weight.mean()), float(weight.mean() - half), float(weight.mean() + half), len(weight))
    unsupported = None
    if policy is not None and logging is not None:
        unsupported = float((policy * (logging <= 0)).sum(axis=1).mean())
    share = float(weight.max() / total) if total > 0 else 1.0
    return WeightDiagnostics(
        float(total**2 / squares) if squares else 0.0, mean, share, tail_shape(weight), unsupported
    )


def tail_shape(weight: np.ndarray) -> float:
    """Shape k of a generalised Pareto fitted to the largest min(N/5, 3 sqrt N) weights; -inf for a flat tail."""
    size = int(min(len(weight) / 5, 3 * np.sqrt(len(weight))))
    if size < 5:
        return np.inf
    tail = np.sort(np.partition(weight, -size - 1)[-size - 1 :])
    excess = tail[1:] - tail[0]
    if excess[-1] <= 0 or np.unique(excess).size < 5:
        return -np.inf
    return _pareto_shape(excess[excess > 0])


def _pareto_shape(excess: np.ndarray) -> float:
    """Shape of a generalised Pareto that gave the excesses, sorted and above 0.

    k(b) = mean log(1 - b x),  L(b) = n (log(-b / k(b)) - k(b) - 1),  b = sum_j b_j e^L(b_j) / sum_j e^L(b_j)

    over a grid b_j of m = 30 + sqrt n; then k is drawn to 0.5 as by 10 further excesses. Zhang & Stephens 2009, with
    the prior of Vehtari et al. 2024.
    """
    n, quartile = len(excess), excess[int(len(excess) / 4 + 0.5) - 1]
    m = 30 + int(np.sqrt(n))
    grid = 1 / excess[-1] + (1 - np.sqrt(m / (np.arange(m) + 0.5))) / (3 * quartile)
    shape = np.log1p(-grid[:, None] * excess).mean(axis=1)
    fit = n * (np.log(-grid / shape) - shape - 1)
    likelihood = np.exp(fit - fit.max())
    b = (grid * likelihood).sum() / likelihood.sum()
    return float((n * np.log1p(-b * excess).mean() + 10 * 0.5) / (n + 10))


def propensity_calibration(logging: np.ndarray, action: np.ndarray, *, bins: int = 10) -> Curve:
    """Logged probability (x) against how often such actions were shown (y), over all rows and actions [N, A].

    True propensities lie on the diagonal; the interval is binomial, 95 %, rows independent. Raises ValueError for
    rows that are no distribution, and for actions that are no column.
    """
    refuse_probabilities(logging, name="logging", rows=len(action))
    refuse_numbers(action, name="action", count=logging.shape[1], columns="logging")
    chance = logging.ravel()
    taken = np.zeros(logging.shape, bool)
    np.put_along_axis(taken, action[:, None], True, axis=1)
    edges = np.unique(np.quantile(chance, np.linspace(0, 1, bins + 1)[1:-1]))
    cell = np.searchsorted(edges, chance, side="right")
    present, cell = np.unique(cell, return_inverse=True)
    rows, x, y = (np.bincount(cell, v, minlength=len(present)) for v in (None, chance, taken.ravel().astype(float)))
    mean = y / rows
    half = 1.96 * np.sqrt(np.maximum(mean * (1 - mean), 1 / rows) / rows)
    return Curve(x / rows, mean, mean - half, mean + half, rows)
