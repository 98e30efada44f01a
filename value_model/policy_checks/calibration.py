"""Do the heads keep their promises on each surface? sum predicted / sum observed, over requests."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from evaluation.estimate import Estimate
from marketplace.heads import recorded_heads
from marketplace.slate_columns import predictions, request_of_rows, shown, to_numpy

HeadCalibration = Mapping[str, Mapping[str, Estimate]]  # surface -> head -> sum predicted / sum observed


def logged_calibration(slates: pa.Table, labels: pa.Table) -> dict[str, dict[str, Estimate]]:
    """The heads' calibration ratios per surface, from a SLATE table and its items' labels (marketplace.attribution).

    As a ranker is trained and evaluated: on what was shown, without requests that are too young (`mature`); heads that
    were not logged are left out.
    """
    counted = shown(slates) & _flags(labels, "mature") if shown(slates).any() else _flags(labels, "mature")
    predicted, happened = {}, {}
    for head in recorded_heads(labels.column_names):
        logged = predictions(slates, head.name)
        holds = counted & ~np.isnan(logged)
        if head.condition is not None:
            holds &= _flags(labels, head.condition)
        if holds.any():
            predicted[head.name] = logged
            actual = to_numpy(labels[head.label].combine_chunks()).astype(np.float64)
            happened[head.name] = np.where(holds, actual, np.nan)
    surface = to_numpy(slates["surface"].combine_chunks()).astype(str)
    return calibration_by_surface(predicted, happened, request_of_rows(slates), surface)


def _flags(labels: pa.Table, name: str) -> np.ndarray:
    return to_numpy(labels[name].combine_chunks()).astype(bool)


def calibration_by_surface(
    predictions: Mapping[str, np.ndarray],
    labels: Mapping[str, np.ndarray],
    request: np.ndarray,
    surface: np.ndarray,
) -> dict[str, dict[str, Estimate]]:
    """sum predicted / sum observed per surface and head, with a 95 % interval over requests (delta method).

    predictions and labels: float64 [N] a head, NaN in rows on which the head's condition does not hold (cvr: no
    click); request int [N]; surface text [R].
    """
    ratios: dict[str, dict[str, Estimate]] = {}
    for name in sorted(set(surface.tolist())):
        ratios[name] = {}
        for head in predictions.keys() & labels.keys():
            rows = (surface[request] == name) & ~np.isnan(labels[head])
            ratio = _ratio(predictions[head][rows], labels[head][rows], request[rows])
            if ratio is not None:
                ratios[name][head] = ratio
    return ratios


def _ratio(predicted: np.ndarray, observed: np.ndarray, request: np.ndarray) -> Estimate | None:
    requests, codes = np.unique(request, return_inverse=True)
    p, o = np.bincount(codes, predicted), np.bincount(codes, observed)
    n = len(requests)
    if n < 2 or o.sum() <= 0:
        return None
    ratio = float(p.sum() / o.sum())
    error = float(np.sqrt(np.sum((p - ratio * o) ** 2) * n / (n - 1)) / o.sum())
    return Estimate(ratio, ratio - 1.96 * error, ratio + 1.96 * error, n)
