"""Is a head right: discrimination and calibration of probabilities and amounts, with bootstrap intervals over shoppers.

Conventions: predictions, labels [N]; `where` [N] keeps the rows on which the head's condition holds (cvr: the clicked,
order_value: the ordered); probabilities in [0, 1], amounts in the data's currency. Everything additive is first summed
by request: `HeadSums` add (`+`) across shards and reweight in one product.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np

from evaluation import bootstrap, ranking
from evaluation.bootstrap import Resampled, Samples
from evaluation.rank_sums import area, gini, rank_sums

SMALLEST = 1e-15  # a probability is kept this far from 0 and 1 in the log loss


@dataclass(frozen=True)
class HeadSums:
    """Sums over rows of one head, of any leading shape [...] (requests, bootstrap samples, one total)."""

    rows: np.ndarray
    predicted: np.ndarray
    observed: np.ndarray
    absolute_error: np.ndarray
    squared_log_error: np.ndarray
    log_loss_sum: np.ndarray
    gap: np.ndarray  # [..., bins]: sum of predicted - observed by bin of predictions

    def __add__(self, other: HeadSums) -> HeadSums:
        return HeadSums(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    @property
    def calibration_ratio(self) -> np.ndarray:
        """sum predicted / sum observed: 1 = calibrated on the whole, above 1 = promises too much."""
        return _over(self.predicted, self.observed)

    @property
    def log_loss(self) -> np.ndarray:
        """Mean of -log P(label); 0.693 for a head that always says 1/2."""
        return _over(self.log_loss_sum, self.rows)

    @property
    def ece(self) -> np.ndarray:
        """Expected calibration error: sum over bins of share of rows * |mean predicted - mean observed|."""
        return _over(np.abs(self.gap).sum(axis=-1), self.rows)

    @property
    def mae(self) -> np.ndarray:
        """Mean absolute error, in the label's unit."""
        return _over(self.absolute_error, self.rows)

    @property
    def rmsle(self) -> np.ndarray:
        """Root of the mean squared error of log(1 + amount)."""
        return np.sqrt(_over(self.squared_log_error, self.rows))

    @property
    def columns(self) -> np.ndarray:
        """[R, 6 + bins]: the sums by request side by side."""
        return np.column_stack([getattr(self, f.name) for f in fields(self)])

    @classmethod
    def from_columns(cls, columns: np.ndarray) -> HeadSums:
        names = [f.name for f in fields(cls) if f.name != "gap"]
        sums = {name: columns[..., at] for at, name in enumerate(names)}
        return cls(**sums, gap=columns[..., len(names) :])


def equal_mass_edges(predictions: np.ndarray, *, bins: int = 15) -> np.ndarray:
    """[bins - 1] inner edges that hold as many rows each; rates are small, equal widths would leave one bin."""
    return np.unique(np.quantile(predictions, np.linspace(0, 1, bins + 1)[1:-1])) if len(predictions) else np.empty(0)


def head_sums(
    predictions: np.ndarray, labels: np.ndarray, request: np.ndarray, *, requests: int, edges: np.ndarray
) -> HeadSums:
    """The sums of M rows by `request` [M]; shards add up when they share `edges`."""

    def total(values: np.ndarray | None) -> np.ndarray:
        return np.bincount(request, values, minlength=requests).astype(np.float64)

    error = predictions - labels
    sure = np.clip(np.where(labels > 0, predictions, 1 - predictions), SMALLEST, 1)
    log_error = np.log1p(np.maximum(predictions, 0)) - np.log1p(labels)
    bins = len(edges) + 1
    cell = request * bins + np.searchsorted(edges, predictions, side="right")
    gap = np.bincount(cell, error, minlength=requests * bins).reshape(requests, bins)
    return HeadSums(
        rows=total(None),
        predicted=total(predictions),
        observed=total(labels),
        absolute_error=total(abs(error)),
        squared_log_error=total(log_error**2),
        log_loss_sum=total(-np.log(sure)),
        gap=gap,
    )


def auc(predictions: np.ndarray, labels: np.ndarray, *, weight: np.ndarray | None = None) -> float:
    """P(a positive row scores above a negative one), ties 1/2; `weight` [N] by row."""
    rows = np.arange(len(predictions))
    return area(rank_sums(predictions, labels, rows)(np.ones(len(rows)) if weight is None else weight))


def probability_head(
    predictions: np.ndarray,
    labels: np.ndarray,
    offsets: np.ndarray,
    *,
    samples: Samples,
    where: np.ndarray | None = None,
) -> dict[str, Resampled]:
    """AUC, AUC within requests (weighted by their rows), log loss, calibration ratio and ECE (15 equal-mass bins).

    `samples` from `bootstrap.resample`. ECE's plug-in is biased upward, on samples even more: its draws are
    shifted back onto the value, so that the interval states spread alone.
    """
    predictions, labels, request, requests = _rows(predictions, labels, offsets, where)
    edges = equal_mass_edges(predictions)
    sums, draws = _resampled_sums(head_sums(predictions, labels, request, requests=requests, edges=edges), samples)
    order = rank_sums(predictions, labels, request)
    result = {"auc": _resampled(lambda weight: area(order(weight)), request, samples)}
    result["grouped_auc"] = _grouped_auc(predictions, labels, request, samples)
    for name in ("log_loss", "calibration_ratio", "ece"):
        result[name] = Resampled(float(getattr(sums, name)), getattr(draws, name), samples.units(request))
    spread = result["ece"].draws - np.nanmean(result["ece"].draws) if len(request) else result["ece"].draws
    return result | {"ece": Resampled(float(sums.ece), np.maximum(sums.ece + spread, 0), result["ece"].n)}


def row_metrics(
    predictions: np.ndarray,
    labels: np.ndarray,
    offsets: np.ndarray,
    *,
    samples: Samples,
    where: np.ndarray | None = None,
) -> dict[str, Resampled]:
    """AUC and calibration ratio alone, as `probability_head`: what few rows can tell."""
    predictions, labels, request, requests = _rows(predictions, labels, offsets, where)
    order = rank_sums(predictions, labels, request)
    sums = np.column_stack([np.bincount(request, column, minlength=requests) for column in (predictions, labels)])
    total, draws = sums.sum(axis=0), bootstrap.totals(sums, samples)
    ratio = Resampled(float(_over(*total)), _over(*draws.T), samples.units(request))
    return {"auc": _resampled(lambda weight: area(order(weight)), request, samples), "calibration_ratio": ratio}


def amount_head(
    predictions: np.ndarray,
    labels: np.ndarray,
    offsets: np.ndarray,
    *,
    samples: Samples,
    where: np.ndarray | None = None,
) -> dict[str, Resampled]:
    """Calibration ratio, MAE, RMSLE and normalised Gini of amounts."""
    predictions, labels, request, requests = _rows(predictions, labels, offsets, where)
    edges = equal_mass_edges(predictions)
    sums, draws = _resampled_sums(head_sums(predictions, labels, request, requests=requests, edges=edges), samples)
    order, best = rank_sums(predictions, labels, request), rank_sums(labels, labels, request)
    result = {
        name: Resampled(float(getattr(sums, name)), getattr(draws, name), samples.units(request))
        for name in ("calibration_ratio", "mae", "rmsle")
    }
    return result | {"gini": _resampled(lambda weight: gini(order(weight), best(weight)), request, samples)}


def _rows(
    predictions: np.ndarray, labels: np.ndarray, offsets: np.ndarray, where: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """The kept rows' predictions, labels and request, and the number of all requests."""
    request = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    if not len(predictions) == len(labels) == len(request):
        raise ValueError(f"{len(predictions)} predictions, {len(labels)} labels, {len(request)} rows by offsets.")
    rows = np.arange(len(request)) if where is None else np.flatnonzero(where)
    predictions = np.asarray(predictions, np.float64)[rows]
    if not np.isfinite(predictions).all():
        raise ValueError(f"predictions: row {rows[(~np.isfinite(predictions)).argmax()]} is not finite.")
    return predictions, np.asarray(labels, np.float64)[rows], request[rows], len(offsets) - 1


def _resampled_sums(sums: HeadSums, samples: Samples) -> tuple[HeadSums, HeadSums]:
    columns = sums.columns
    return HeadSums.from_columns(columns.sum(axis=0)), HeadSums.from_columns(bootstrap.totals(columns, samples))


def _resampled(statistic: Callable[[np.ndarray], float], request: np.ndarray, samples: Samples) -> Resampled:
    ones = np.ones(samples.requests, np.uint16)
    return Resampled(statistic(ones), np.array([statistic(row) for row in samples.counts]), samples.units(request))


def _grouped_auc(predictions: np.ndarray, labels: np.ndarray, request: np.ndarray, samples: Samples) -> Resampled:
    rows = np.bincount(request, minlength=samples.requests)
    ranked = ranking.rank(predictions, np.concatenate(([0], np.cumsum(rows))))
    areas = ranking.request_auc(ranked, labels)
    used = ~np.isnan(areas)
    columns = np.column_stack([np.where(used, areas, 0.0) * rows, used * rows])
    total, draws = columns.sum(axis=0), bootstrap.totals(columns, samples)
    return Resampled(float(_over(total[0], total[1])), _over(draws[:, 0], draws[:, 1]), samples.units(used))


def _over(numerator, denominator) -> np.ndarray:
    numerator, denominator = np.asarray(numerator, float), np.asarray(denominator, float)
    return np.divide(numerator, denominator, out=np.full(numerator.shape, np.nan), where=denominator > 0)
