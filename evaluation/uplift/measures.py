"""Metrics of one effect prediction on rows that it did not learn from, each with its interval over units.

qini, auuc          normalised areas of the Qini and the uplift curve; 0 = no better than at random
uplift@k            treated minus control rate of the first share k
autoc, rate_qini    RATE from doubly robust scores, in the outcome's unit
ate                 mean score: the effect of treating everybody
bias                mean prediction minus mean score
slope               of the scores on the predictions (best linear predictor; Chernozhukov et al. 2018): 1 =
                    calibrated, below 1 = predictions are spread too far, 0 = they tell nothing

Where several models answered a part of the rows each (`part` int [N]), rows are ordered by their rank in their part and
the slope is within parts: by chance one part has the larger effect, and the model that predicts it saw the smaller one,
so that levels of different models, set against each other, look worse than chance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.stats import rankdata

from evaluation import bootstrap
from evaluation.bootstrap import Resampled, Samples
from evaluation.counterfactual.refusals import refuse_infinite
from evaluation.curves import Curve, calibration_curve
from evaluation.uplift.gains import gain_sums, normalised_areas
from evaluation.uplift.rate import priority_sums

SHARES = (0.1, 0.3)
ROUNDING = 1e-12  # relative: predictions that differ by less are the same
Measure = Callable[..., Sequence[float]]  # of row weights [N], or of none: every row once


def gain_metrics(
    predicted: np.ndarray,
    outcome: np.ndarray,
    treated: np.ndarray,
    *,
    samples: Samples,
    propensity: np.ndarray | None = None,
    part: np.ndarray | None = None,
    shares: Sequence[float] = SHARES,
) -> dict[str, Resampled]:
    """qini, auuc and uplift@k of predictions [N]; treated bool [N], `propensity` [N], None = the same for all."""
    refuse_infinite(predicted, name="predicted")
    areas = normalised_areas(_order(predicted, part), outcome, treated, propensity=propensity)

    def measure(weight: np.ndarray | None = None) -> list[float]:
        steps = areas.model(weight)
        return [*areas(steps, weight), *(steps.uplift_at(share) for share in shares)]

    return _resampled(("qini", "auuc", *(f"uplift@{share:.0%}" for share in shares)), measure, samples)


def score_metrics(
    predicted: np.ndarray, scores: np.ndarray, *, samples: Samples, part: np.ndarray | None = None
) -> dict[str, Resampled]:
    """autoc, rate_qini, ate, bias and slope of predictions [N] against doubly robust scores [N]."""
    refuse_infinite(predicted, name="predicted")
    result = _resampled(("autoc", "rate_qini"), priority_sums(_order(predicted, part), scores), samples)
    centred = predicted - _part_means(predicted, part)
    powers = np.column_stack([np.ones(len(scores)), scores, predicted, centred, centred * scores, centred**2])
    sums = np.vstack([powers.sum(axis=0), bootstrap.totals(powers, samples)]).T
    rows, score, guess, middle, product, square = sums
    spread = square / rows - (middle / rows) ** 2
    flat = (ROUNDING * np.abs(predicted).max()) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        slope = np.where(spread > flat, (product / rows - middle * score / rows**2) / spread, np.nan)
    columns = {"ate": score / rows, "bias": (guess - score) / rows, "slope": slope}
    units = samples.units(np.arange(samples.requests))
    return result | {name: Resampled(column[0], column[1:], units) for name, column in columns.items()}


def uplift_calibration(predicted: np.ndarray, scores: np.ndarray, *, samples: Samples, bins: int = 10) -> Curve:
    """Mean prediction (x) against mean score (y) in bins that hold as many rows each."""
    return calibration_curve(predicted, scores, np.arange(len(scores) + 1), samples=samples, bins=bins)


def gain_curve(
    predicted: np.ndarray,
    outcome: np.ndarray,
    treated: np.ndarray,
    *,
    samples: Samples,
    propensity: np.ndarray | None = None,
    part: np.ndarray | None = None,
    points: int = 20,
) -> Curve:
    """Share of rows taken, best first (x), against the extra outcome per row of all if these were treated (y)."""
    sums = gain_sums(_order(predicted, part), outcome, treated, propensity=propensity)
    shares = np.linspace(0, 1, points + 1)

    def heights(weight: np.ndarray | None = None) -> np.ndarray:
        steps = sums(weight)
        return np.interp(shares, steps.rows / steps.rows[-1], steps.uplift / steps.rows[-1])

    draws = np.array([heights(counts) for counts in samples.counts])
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    return Curve(shares, heights(), low, high, np.round(shares * len(outcome)).astype(int))


def _order(predicted: np.ndarray, part: np.ndarray | None) -> np.ndarray:
    """Predictions [N], or (rank - 1/2) / rows within their part, ties sharing theirs."""
    if part is None:
        return predicted
    order = np.empty(len(predicted))
    for number in np.unique(part):
        rows = part == number
        order[rows] = (rankdata(predicted[rows]) - 0.5) / rows.sum()
    return order


def _part_means(predicted: np.ndarray, part: np.ndarray | None) -> np.ndarray:
    """[N]: the mean prediction of the row's part."""
    group = np.zeros(len(predicted), np.int64) if part is None else part
    return (np.bincount(group, predicted) / np.maximum(np.bincount(group), 1))[group]


def _resampled(names: Sequence[str], measure: Measure, samples: Samples) -> dict[str, Resampled]:
    """The named numbers of `measure(weights [N])` on the data and on every sample."""
    values = measure()
    draws = np.array([measure(counts) for counts in samples.counts]).reshape(-1, len(names))
    units = samples.units(np.arange(samples.requests))
    return {name: Resampled(values[i], draws[:, i], units) for i, name in enumerate(names)}
