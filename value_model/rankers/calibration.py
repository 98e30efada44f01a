"""Calibrators: what a head's prediction has meant, fitted on a held-out later period.

A probability p becomes f(log odds of p) with f strictly rising, so that ranking by a calibrated head is exactly the
ranking by the raw one:
- Platt:    f(z) = sigmoid(slope z + intercept)                                         (Platt 1999)
- isotonic: f joins the points (mean z, rate) of the pool-adjacent-violators blocks by straight lines, so that rows
  between two blocks keep their order (Oron and Flournoy 2017, centred isotonic regression); beyond an end, its odds
  are multiplied by the ratio of the raw odds to the end's.
- scale:    an amount times sum of actual / sum of predicted; also undoes the bias of E[v] = exp(mu + sigma^2 / 2).
The kind with the lower log loss on the later half of the held-out period is refitted on the whole of it. A head is
calibrated where its condition holds: cvr among clicked rows, order_value among ordered rows, amounts of 0 included.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from marketplace.heads import HeadKind, Labels, composed, recorded_heads, uncomposed

EDGE = 1e-7  # probabilities are kept this far from 0 and 1 while fitting
LEAST, LEAST_LEFT = 1e-37, 1e-17  # p and 1 - p are kept above these in log odds: below what float32, float64 tell apart
GAP = 1e-3  # isotonic points closer than this in log odds are one point
RISE = 1e-3  # and so are points whose rates differ by a smaller share: a flat line would tie what it joins in float32
FLATTEST = 1e-3  # a smaller slope of Platt's would tie or reverse rows
FEWEST = 50  # positives (and negatives) below which a head is left as it is


@dataclass(frozen=True)
class Calibrator:
    """One head's map: `kind` is identity, platt (slope, intercept), isotonic (x, y) or scale (slope)."""

    kind: str = "identity"
    slope: float = 1.0
    intercept: float = 0.0
    x: tuple[float, ...] = ()
    y: tuple[float, ...] = ()

    def __call__(self, predicted: np.ndarray) -> np.ndarray:
        """Calibrated predictions, float64 [N]."""
        if self.kind == "scale":
            return predicted * self.slope
        if self.kind == "platt":
            return expit(self.slope * log_odds(predicted) + self.intercept)
        if self.kind == "isotonic":
            z = log_odds(predicted)
            rate, ratio = np.interp(z, self.x, self.y), np.exp(z - np.clip(z, self.x[0], self.x[-1]))
            return rate * ratio / (1 - rate + rate * ratio)
        return np.asarray(predicted, np.float64)


@dataclass(frozen=True)
class Calibration:
    """A calibrator a learned head; heads without one pass unchanged."""

    heads: Mapping[str, Calibrator] = field(default_factory=dict)

    def __call__(self, predictions: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Calibrated heads, and the products composed of them."""
        learned = [head.name for head in uncomposed(predictions)]
        return composed({name: self.heads.get(name, Calibrator())(predictions[name]) for name in learned})

    def save(self, path: Path) -> None:
        path.write_text(json.dumps({name: asdict(one) for name, one in self.heads.items()}, indent=1))

    @classmethod
    def load(cls, path: Path) -> Calibration:
        rows = json.loads(path.read_text())
        return cls(
            {name: Calibrator(**row | {"x": tuple(row["x"]), "y": tuple(row["y"])}) for name, row in rows.items()}
        )


def fit_calibration(predictions: Mapping[str, np.ndarray], labels: Labels, weight: np.ndarray) -> Calibration:
    """Calibrators from held-out rows in time order, predicted as served (positions unknown)."""
    calibrators = {}
    for head in uncomposed(predictions):
        if head in recorded_heads(labels):
            rows = head.rows(labels)
            fit = fit_scale if head.kind is HeadKind.MONEY else fit_probability
            calibrators[head.name] = fit(predictions[head.name][rows], labels[head.label][rows], weight[rows])
    return Calibration(calibrators)


def fit_probability(predicted: np.ndarray, event: np.ndarray, weight: np.ndarray) -> Calibrator:
    """The better of Platt and isotonic on the later half; identity when either outcome is rarer than FEWEST."""
    if min(event.sum(), (1 - event).sum()) < FEWEST:
        return Calibrator()
    half = len(event) // 2
    losses = {}
    for fit in (fit_platt, fit_isotonic):
        if 0 < event[:half].mean() < 1:
            trial = fit(predicted[:half], event[:half], weight[:half])(predicted[half:])
            losses[fit] = log_loss(
                event[half:], np.clip(trial, EDGE, 1 - EDGE), sample_weight=weight[half:], labels=[0, 1]
            )
    best = min(losses, key=lambda fit: losses[fit]) if losses else fit_platt
    return best(predicted, event, weight)


def fit_platt(predicted: np.ndarray, event: np.ndarray, weight: np.ndarray) -> Calibrator:
    """Logistic regression on log odds; a slope that would reverse the ranking falls back to an intercept alone.

    That intercept b keeps the mean: weighted mean of sigmoid(z + b) = weighted rate of the event.
    """
    z = log_odds(np.clip(predicted, EDGE, 1 - EDGE))
    model = LogisticRegression(C=np.inf).fit(z[:, None], event, sample_weight=weight)
    slope, intercept = float(model.coef_[0, 0]), float(model.intercept_[0])
    if slope < FLATTEST:
        rate = np.average(event, weights=weight)
        slope = 1.0
        intercept = float(brentq(lambda b: np.average(expit(z + b), weights=weight) - rate, -50, 50))
    return Calibrator("platt", slope=slope, intercept=intercept)


def fit_isotonic(predicted: np.ndarray, event: np.ndarray, weight: np.ndarray) -> Calibrator:
    """Blocks of equal fitted rate become one point each; rates are kept off 0 and 1 by half an event a block."""
    z = log_odds(np.clip(predicted, EDGE, 1 - EDGE))
    level = IsotonicRegression(out_of_bounds="clip").fit(z, event, sample_weight=weight).predict(z)
    _, block = np.unique(level, return_inverse=True)
    mass = np.bincount(block, weight)
    x, y = np.bincount(block, weight * z) / mass, np.bincount(block, weight * event) / mass
    y = np.clip(y, 0.5 / (mass + 1), 1 - 0.5 / (mass + 1))
    order = np.argsort(x)
    x, y, keep = x[order], np.maximum.accumulate(y[order]), [0]
    for point in range(1, len(x)):
        if x[point] - x[keep[-1]] >= GAP and y[point] >= (1 + RISE) * y[keep[-1]]:
            keep.append(point)
    return Calibrator("isotonic", x=tuple(x[keep].tolist()), y=tuple(y[keep].tolist()))


def fit_scale(predicted: np.ndarray, actual: np.ndarray, weight: np.ndarray) -> Calibrator:
    """Total actual over total predicted; identity where either is 0: it would tie all rows."""
    observed, promised = (weight * actual).sum(), (weight * predicted).sum()
    return Calibrator("scale", slope=float(observed / promised)) if observed > 0 and promised > 0 else Calibrator()


def log_odds(p: np.ndarray) -> np.ndarray:
    """log p / (1 - p), float64, finite: p = 0 and 1 lie beyond every other probability."""
    p = np.asarray(p, np.float64)
    return np.log(np.maximum(p, LEAST)) - np.log(np.maximum(1 - p, LEAST_LEFT))
