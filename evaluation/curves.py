"""Curves that show where a head is right: observed against predicted, and rates by shown position."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evaluation import bootstrap
from evaluation.bootstrap import Samples
from evaluation.heads import equal_mass_edges


@dataclass(frozen=True)
class Curve:
    """Points (x, y) with y's 95 % interval over shoppers, and how many rows each stands for."""

    x: np.ndarray
    y: np.ndarray
    low: np.ndarray
    high: np.ndarray
    rows: np.ndarray


def calibration_curve(
    predictions: np.ndarray,
    labels: np.ndarray,
    offsets: np.ndarray,
    *,
    samples: Samples,
    where: np.ndarray | None = None,
    bins: int = 15,
) -> Curve:
    """Mean prediction (x) against mean label (y) in bins that hold as many rows each."""
    kept = np.ones(len(labels), bool) if where is None else np.asarray(where, bool)
    edges = equal_mass_edges(predictions[kept], bins=bins)
    cell = np.searchsorted(edges, predictions, side="right")
    return _curve(predictions, labels, cell, offsets, kept, samples)


def position_curve(
    labels: np.ndarray, position: np.ndarray, offsets: np.ndarray, *, samples: Samples, deepest: int = 25
) -> Curve:
    """Mean label (y) at each shown position (x), 1 to `deepest`; rows that were not shown (0) stay out."""
    kept = (position > 0) & (position <= deepest)
    return _curve(position.astype(np.float64), labels, position, offsets, kept, samples)


def _curve(
    x: np.ndarray, y: np.ndarray, cell: np.ndarray, offsets: np.ndarray, kept: np.ndarray, samples: Samples
) -> Curve:
    request = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))[kept]
    present, cell = np.unique(cell[kept], return_inverse=True)
    x, y, cells = x[kept], y[kept], len(present)
    index, shape = request * cells + cell, (len(offsets) - 1, cells)
    rows, observed = (
        np.bincount(index, values, minlength=shape[0] * cells).reshape(shape) for values in (np.ones(len(x)), y)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        draws = bootstrap.totals(observed, samples) / bootstrap.totals(rows, samples)
    low, high = np.nanquantile(draws, [0.025, 0.975], axis=0)
    size = rows.sum(axis=0)
    return Curve(np.bincount(cell, x, minlength=cells) / size, observed.sum(axis=0) / size, low, high, size.astype(int))
