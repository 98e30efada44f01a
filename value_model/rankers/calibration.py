"""Calibrators: what a head's prediction has meant, fitted on a held-out later period.

A probability p becomes f(log odds of p) with f strictly rising, so that ranking by a calibrated head is exactly the
ranking by the raw one:
- Platt:    f(z) = sigmoid(slope z + intercept)                                         (Platt 1999)
- isotonic: f joins the points (mean z, rate) of the pool-adjacent-violators blocks by straight lines, so that rows
  between two blocks keep their order (Oron and Flournoy 2017, centred isotonic regression); beyond an end, its odds
  are multiplied by the ratio of the raw odds to the end's.
- scale:    an amount times sum of actual / sum of predicted; also undoes the bias of E[v] = exp(mu + sigma^2 / 2).
The kind with the lower log loss on the later half of the held-out period is refitted on the whole of it, unless
`CalibrationConfig` names one. A head is
calibrated where its condition holds: cvr among clicked rows, order_value among ordered rows, amounts of 0 included.
Groups of requests, as segments and surfaces, then add offsets of their own (`group_offsets`), the last one last: within
a group, ranking by a head is unchanged.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from features.spec import ModelInputs
from marketplace.heads import Head, HeadKind, composed, products, recorded_heads, uncomposed
from value_model.rankers.config import CalibrationConfig
from value_model.rankers.group_offsets import GroupCodes, GroupOffsets, Observations, fit_offsets, shift_odds
from value_model.rankers.ranker import RankingData

DEFAULTS = CalibrationConfig()
EDGE = 1e-7  # probabilities are kept this far from 0 and 1 while fitting
LEAST, LEAST_LEFT = 1e-37, 1e-17  # p and 1 - p are kept above these in log odds: below what float32, float64 tell apart
GAP = 1e-3  # isotonic points closer than this in log odds are one point
RISE = 1e-3  # and so are points whose rates differ by a smaller share: a flat line would tie what it joins in float32
FLATTEST = 1e-3  # a smaller slope of Platt's would tie or reverse rows


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
    """A calibrator a learned head, and what groups of requests add to it; heads without one pass unchanged."""

    heads: Mapping[str, Calibrator] = field(default_factory=dict)
    groups: Mapping[str, tuple[GroupOffsets, ...]] = field(default_factory=dict)

    def __call__(self, predictions: Mapping[str, np.ndarray], inputs: ModelInputs) -> dict[str, np.ndarray]:
        """Calibrated heads of the rows of `inputs`, and the products composed of them."""
        heads = uncomposed(predictions)
        calibrated = {head.name: self.heads.get(head.name, Calibrator())(predictions[head.name]) for head in heads}
        for head in heads:
            for group in self.groups.get(head.name, ()):
                calibrated[head.name] = _shifted(head, calibrated[head.name], group.of(inputs))
        return composed(calibrated)

    def save(self, path: Path) -> None:
        heads = {name: asdict(one) for name, one in self.heads.items()}
        groups = {name: [asdict(one) for one in several] for name, several in self.groups.items()}
        path.write_text(json.dumps({"heads": heads, "groups": groups}, indent=1))

    @classmethod
    def load(cls, path: Path) -> Calibration:
        rows = json.loads(path.read_text())
        heads = {
            name: Calibrator(**row | {"x": tuple(row["x"]), "y": tuple(row["y"])})
            for name, row in rows["heads"].items()
        }
        groups = {
            name: tuple(GroupOffsets(**row | {"offsets": tuple(row["offsets"])}) for row in several)
            for name, several in rows["groups"].items()
        }
        return cls(heads, groups)


def fit_calibration(
    predictions: Mapping[str, np.ndarray],
    data: RankingData,
    *,
    groups: Sequence[GroupCodes] = (),
    config: CalibrationConfig = DEFAULTS,
) -> Calibration:
    """Calibrators from held-out rows in time order, predicted as served (positions unknown), and of their `groups`.

    A head's offsets are fitted on what it completes: cvr's on the orders of all rows, given ctr as calibrated by then.
    """
    calibrators: dict[str, Calibrator] = {}
    offsets: dict[str, tuple[GroupOffsets, ...]] = {}
    known: dict[str, np.ndarray] = {}
    for head in uncomposed(predictions):
        known[head.name] = predictions[head.name]
        if head in recorded_heads(data.labels):
            calibrators[head.name] = _fit_head(head, predictions[head.name], data, config)
            calibrated = calibrators[head.name](predictions[head.name])
            offsets[head.name], known[head.name] = _grouped(head, calibrated, known, data, groups)
        known = composed(known)
    return Calibration(calibrators, offsets if groups else {})


def _fit_head(head: Head, predicted: np.ndarray, data: RankingData, config: CalibrationConfig) -> Calibrator:
    if config.heads == "none":
        return Calibrator()
    rows = head.rows(data.labels)
    columns = predicted[rows], data.labels[head.label][rows], data.weight[rows]
    return fit_scale(*columns) if head.kind is HeadKind.MONEY else fit_probability(*columns, config=config)


def _grouped(
    head: Head, calibrated: np.ndarray, known: Mapping[str, np.ndarray], data: RankingData, groups: Sequence[GroupCodes]
) -> tuple[tuple[GroupOffsets, ...], np.ndarray]:
    """The offsets of each group on top of those before, and the predictions with all of them."""
    result: list[GroupOffsets] = []
    for group in groups:
        codes, rows, exposure = group.of(data.inputs), *_observed(head, known, data)
        observations = Observations(
            calibrated[rows],
            data.labels[head.label][rows],
            exposure[rows],
            data.weight[rows],
            data.inputs.request[rows],
            money=head.kind is HeadKind.MONEY,
        )
        offsets = fit_offsets(observations, codes[rows], size=group.size)
        result.append(GroupOffsets(group.feature, group.column, tuple(offsets.tolist())))
        calibrated = _shifted(head, calibrated, result[-1].of(data.inputs))
    return tuple(result), calibrated


def _observed(head: Head, known: Mapping[str, np.ndarray], data: RankingData) -> tuple[np.ndarray, np.ndarray]:
    """Rows (bool [N]) on which the product that `head` completes is observed, and its other factors; else its own."""
    for product in products(known):
        others = [known[factor] for factor in product.factors if factor != head.name and factor in known]
        if head.name in product.factors and product.condition is None and product in recorded_heads(data.labels):
            return product.rows(data.labels), np.prod(others, axis=0)
    return head.rows(data.labels), np.ones(len(data.weight))


def _shifted(head: Head, calibrated: np.ndarray, ratio: np.ndarray) -> np.ndarray:
    return calibrated * ratio if head.kind is HeadKind.MONEY else shift_odds(calibrated, ratio)


def fit_probability(
    predicted: np.ndarray, event: np.ndarray, weight: np.ndarray, *, config: CalibrationConfig = DEFAULTS
) -> Calibrator:
    """Platt, isotonic or the better on the later half; identity when either outcome is rarer than `config.fewest`."""
    if min(event.sum(), (1 - event).sum()) < config.fewest:
        return Calibrator()
    if config.heads in KINDS:
        return KINDS[config.heads](predicted, event, weight)
    half = len(event) // 2
    losses = {}
    for fit in KINDS.values():
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
    predicted, event, weight = (column[weight > 0] for column in (predicted, event, weight))
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


KINDS = {"platt": fit_platt, "isotonic": fit_isotonic}


def fit_scale(predicted: np.ndarray, actual: np.ndarray, weight: np.ndarray) -> Calibrator:
    """Total actual over total predicted; identity where either is 0: it would tie all rows."""
    observed, promised = (weight * actual).sum(), (weight * predicted).sum()
    return Calibrator("scale", slope=float(observed / promised)) if observed > 0 and promised > 0 else Calibrator()


def log_odds(p: np.ndarray) -> np.ndarray:
    """log p / (1 - p), float64, finite: p = 0 and 1 lie beyond every other probability."""
    p = np.asarray(p, np.float64)
    return np.log(np.maximum(p, LEAST)) - np.log(np.maximum(1 - p, LEAST_LEFT))
