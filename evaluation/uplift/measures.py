"""Metrics of one effect prediction on rows that it did not learn from, each with its interval over units.

qini, auuc          normalised areas of the Qini and the uplift curve; 0 = no better than at random
uplift@k            treated minus control rate of the first share k
autoc, rate_qini    RATE from doubly robust scores, in the outcome's unit
ate                 mean score: the effect of treating everybody
bias                mean prediction minus mean score
slope               of the scores on the predictions (best linear predictor; Chernozhukov et al. 2018): 1 =
                    calibrated, below 1 = predictions are spread too far, 0 = they tell nothing
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from evaluation import bootstrap
from evaluation.bootstrap import Resampled, Samples
from evaluation.counterfactual.refusals import refuse_infinite
from evaluation.curves import Curve, calibration_curve
from evaluation.uplift.gains import normalised_areas
from evaluation.uplift.rate import priority_sums

SHARES = (0.1, 0.3)
Measure = Callable[..., Sequence[float]]  # of row weights [N], or of none: every row once


def gain_metrics(
    predicted: np.ndarray,
    outcome: np.ndarray,
    treated: np.ndarray,
    *,
    samples: Samples,
    propensity: np.ndarray | None = None,
    shares: Sequence[float] = SHARES,
) -> dict[str, Resampled]:
    """qini, auuc and uplift@k of predictions [N]; treated bool [N], `propensity` [N], None = the same for all."""
    refuse_infinite(predicted, name="predicted")
    areas = normalised_areas(predicted, outcome, treated, propensity=propensity)

    def measure(weight: np.ndarray | None = None) -> list[float]:
        steps = areas.model(weight)
        return [*areas(steps, weight), *(steps.uplift_at(share) for share in shares)]

    return _resampled(("qini", "auuc", *(f"uplift@{share:.0%}" for share in shares)), measure, samples)


def score_metrics(predicted: np.ndarray, scores: np.ndarray, *, samples: Samples) -> dict[str, Resampled]:
    """autoc, rate_qini, ate, bias and slope of predictions [N] against doubly robust scores [N]."""
    refuse_infinite(predicted, name="predicted")
    result = _resampled(("autoc", "rate_qini"), priority_sums(predicted, scores), samples)
    centred = predicted - predicted.mean()
    powers = np.column_stack([np.ones(len(scores)), scores, centred, centred * scores, centred**2])
    sums = np.vstack([powers.sum(axis=0), bootstrap.totals(powers, samples)]).T
    rows, score, guess, product, square = sums
    spread = square / rows - (guess / rows) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        slope = np.where(spread > 0, (product / rows - guess * score / rows**2) / spread, np.nan)
    columns = {"ate": score / rows, "bias": guess / rows + predicted.mean() - score / rows, "slope": slope}
    units = samples.units(np.arange(samples.requests))
    return result | {name: Resampled(column[0], column[1:], units) for name, column in columns.items()}


def uplift_calibration(predicted: np.ndarray, scores: np.ndarray, *, samples: Samples, bins: int = 10) -> Curve:
    """Mean prediction (x) against mean score (y) in bins that hold as many rows each."""
    return calibration_curve(predicted, scores, np.arange(len(scores) + 1), samples=samples, bins=bins)


def _resampled(names: Sequence[str], measure: Measure, samples: Samples) -> dict[str, Resampled]:
    """The named numbers of `measure(weights [N])` on the data and on every sample."""
    values = measure()
    draws = np.array([measure(counts) for counts in samples.counts]).reshape(-1, len(names))
    units = samples.units(np.arange(samples.requests))
    return {name: Resampled(values[i], draws[:, i], units) for i, name in enumerate(names)}
