"""Heads of a day: are probabilities and amounts what they say, with labels where they have come, and without.

    calibration = log(sum predicted / sum observed)                 by head, everywhere, by surface and by segment
    entropy     = log(log loss / entropy of the day's base rate)    normalised entropy (He et al. 2014)
    auc         = with the labels that have come; auc_expected = E[AUC] if the scores are calibrated:
                  sum_ij p_i (1 - p_j) [s_i > s_j] / sum_ij p_i (1 - p_j), which needs no label

Rows are those shown where the head's condition holds and its label has settled; what is open is not judged.
Sources: He et al. 2014, Practical Lessons from Predicting Clicks on Ads at Facebook; NannyML's CBPE for the last.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.special import entr

from evaluation.heads import auc, equal_mass_edges, head_sums
from evaluation.monitoring.day_log import DayLog
from evaluation.monitoring.figure import Figure, Figures
from marketplace.heads import HeadKind, recorded_heads
from marketplace.schema import SEGMENT_KEY
from marketplace.slate_columns import context, names, predictions, to_numpy

FEWEST = 20.0  # observed events, or paid orders, of a group: below them nothing is judged
EVERYWHERE = "all"
SEGMENTS = 6  # the commonest of the day


def head_figures(day: DayLog) -> Figures:
    """Every figure of this file, by name."""
    logged = set(names(day.slates, "predictions"))
    figures: dict[str, Figure] = {}
    for head in recorded_heads(day.labels):
        if head.name in logged:
            predicted = predictions(day.slates, head.name)
            rows = head.rows(day.labels) & np.isfinite(predicted)
            label = np.where(rows, day.labels[head.label], 0.0)
            is_rate = head.kind is HeadKind.PROBABILITY
            for group, some in _groups(day):
                figures |= dict(
                    _calibration(f"{head.name}.{group}", predicted, label, rows & some, day.request, is_rate)
                )
            if is_rate and head.condition is None and rows.any():
                figures |= dict(_areas(head.name, predicted, label, rows))
    return figures


def _groups(day: DayLog) -> Iterator[tuple[str, np.ndarray]]:
    yield EVERYWHERE, np.ones(len(day.request), bool)
    columns = {"surface": day.surface, "segment": to_numpy(context(day.slates, SEGMENT_KEY))}
    for values in columns.values():
        present, counts = np.unique(values[[value is not None for value in values]].astype(str), return_counts=True)
        for name in present[np.argsort(-counts)][:SEGMENTS].tolist() if len(present) > 1 else ():
            yield name, (values == name)[day.request]


def _calibration(
    name: str, predicted: np.ndarray, label: np.ndarray, rows: np.ndarray, request: np.ndarray, is_rate: bool
) -> Iterator[tuple[str, Figure]]:
    predicted, label, request = predicted[rows], label[rows], request[rows]
    if (label > 0).sum() < FEWEST:
        return
    alone = np.zeros(len(label), np.int64)
    sums = head_sums(predicted, label, alone, requests=1, edges=equal_mass_edges(predicted))
    error = np.bincount(request, predicted - label)
    worst = np.argsort(-np.abs(error))
    yield f"calibration.{name}", Figure(float(np.log(np.maximum(sums.calibration_ratio[0], 1e-9))), worst)
    base = label.mean()
    if is_rate and 0 < base < 1:
        yield f"entropy.{name}", Figure(float(np.log(sums.log_loss[0] / (entr(base) + entr(1 - base)))), worst)


def _areas(name: str, predicted: np.ndarray, label: np.ndarray, rows: np.ndarray) -> Iterator[tuple[str, Figure]]:
    yield f"auc_expected.{name}", Figure(expected_auc(predicted[rows]))
    if label[rows].sum() >= FEWEST:
        yield f"auc.{name}", Figure(auc(predicted[rows], label[rows]))


def expected_auc(probabilities: np.ndarray) -> float:
    """The AUC that calibrated `probabilities` [N] will turn out to have, on average, without their labels."""
    return auc(probabilities, probabilities)
