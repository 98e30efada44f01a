"""Exposure of a day: what stood in the lists, whose it was, and where it came from.

Concentration is measured so that it does not depend on how much traffic a day has: from pairs of impressions.

    items = 1 / P(two impressions show the same item)      effective number of items, log
    gini  = of merchants' impressions, among merchants that were shown
    overlap = items that two home lists of different shoppers share, over the length of a list
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evaluation.monitoring.day_log import DayLog
from evaluation.monitoring.figure import Figure, Figures, share
from marketplace.slate_columns import flat, predictions, to_numpy

FIRST = 10  # places of a list that are compared between shoppers


def exposure_figures(day: DayLog) -> Figures:
    """Every figure of this file, by name."""
    if not day.shown.any():
        return {}
    return {name: figure for part in (_items(day), _merchants(day), _sources(day)) for name, figure in part}


def _items(day: DayLog) -> Iterator[tuple[str, Figure]]:
    item, names = day.codes("item_id")
    counts = np.bincount(item[day.shown], minlength=len(names)).astype(np.float64)
    yield "items", Figure(-float(np.log(_same(counts))), day.request[day.shown & (item == counts.argmax())])
    home = day.shown & (day.surface == "home")[day.request] & (day.place <= FIRST)
    lists = len(np.unique(day.request[home]))
    counts = np.bincount(item[home], minlength=len(names)).astype(np.float64)
    if lists >= 20:
        pairs = (counts * (counts - 1.0)).sum() / (lists * (lists - 1.0))
        commonest = day.request[home & (item == counts.argmax())]
        yield "overlap", Figure(float(np.log(pairs / (home.sum() / lists) + 1e-3)), commonest)
    if day.facts.newcomers is not None:
        new = to_numpy(pc.is_in(flat(day.slates, "item_id").cast(pa.string()), value_set=day.facts.newcomers))
        yield "cold_start", share(new, day.shown, day.request)


def _merchants(day: DayLog) -> Iterator[tuple[str, Figure]]:
    merchant, names = day.codes("merchant_id")
    counts = np.bincount(merchant[day.shown], minlength=len(names)).astype(np.float64)
    largest = int(counts.argmax())
    yield "gini", Figure(_gini(counts), day.request[day.shown & (merchant == largest)])
    yield "top_merchant", Figure(float(np.log(counts[largest] / counts.sum())), day.request[merchant == largest])
    click = day.labels.get("click")
    if click is None:
        return
    known = ~np.isnan(click)
    clicks = np.bincount(merchant[known], click[known], minlength=len(names))
    expected = np.bincount(merchant[known], _click_rate(day, click, known)[known], minlength=len(names))
    excess = 2 * (np.sqrt(clicks + 3 / 8) - np.sqrt(expected + 3 / 8))  # Anscombe 1948: its spread is about 1
    favoured = int(excess.argmax())
    yield "merchant_clicks", Figure(float(excess[favoured]), day.request[known & (merchant == favoured) & (click > 0)])


def _click_rate(day: DayLog, click: np.ndarray, known: np.ndarray) -> np.ndarray:
    """[N]: what ctr predicts, brought to the day's clicks; the day's rate where no head was logged."""
    predicted = predictions(day.slates, "ctr")
    known_rate = np.isfinite(predicted)
    predicted = np.where(known_rate, predicted, predicted[known_rate].mean() if known_rate.any() else 1.0)
    return predicted * click[known].sum() / max(predicted[known].sum(), 1e-300)


def _sources(day: DayLog) -> Iterator[tuple[str, Figure]]:
    source, names = day.codes("source")
    for code, name in enumerate(names):
        yield f"source.{name}", share(source == code, day.shown, day.request)


def _same(counts: np.ndarray) -> float:
    """P(two different impressions show the same thing); NaN where none were seen to."""
    pairs = (counts * (counts - 1)).sum()
    return float(pairs / (counts.sum() * (counts.sum() - 1))) if pairs else np.nan


def _gini(counts: np.ndarray) -> float:
    ordered, size = np.sort(counts), len(counts)
    return float((2 * np.arange(1, size + 1) - size - 1) @ ordered / (size * max(ordered.sum(), 1)))
