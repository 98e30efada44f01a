"""Distributions of a day: counts by bin of every logged feature, prediction, place and hour.

Numbers have the 30 quantile bins of the reference days, words its 29 commonest and one for the rest. What is missing is
no part of the distribution: its share is a figure of its own, as is what lies outside the reference's range.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from evaluation.monitoring.day_log import DayLog, FeatureDifference
from evaluation.monitoring.distances import BINS, quantile_edges
from evaluation.monitoring.figure import Figure, Figures
from marketplace.schema import SURFACES
from marketplace.slate_columns import RequestLists, all_lists, flat, item_offsets, to_numpy
from marketplace.splits import HOUR_US, microseconds

FAR = 10.0  # widths of the reference's range beyond it: counts grow with the log; another unit, or -1, is not growth
PLACES = 20  # of a list, each a bin
HOURS = 24  # of the day (UTC)
ITEM_COLUMNS = ("price", "retrieval_score", "value")


@dataclass(frozen=True)
class Bins:
    """Of one logged column: inner `edges` and the range of a number, or `words`, the commonest."""

    edges: tuple[float, ...] = ()
    low: float = -np.inf
    high: float = np.inf
    words: tuple[str, ...] | None = None

    def codes(self, values: np.ndarray) -> np.ndarray:
        """int64 [n]: each value's bin; -1 = missing."""
        if not len(values):
            return np.empty(0, np.int64)
        if self.words is not None:
            codes = pa.array(values, pa.string()).dictionary_encode()
            place = {word: code for code, word in enumerate(self.words)}
            known = np.array([place.get(word, len(self.words)) for word in codes.dictionary.to_pylist()] + [-1])
            return known[to_numpy(codes.indices.fill_null(-1)).astype(np.int64)]
        cells = np.searchsorted(np.asarray(self.edges), values, side="right")
        return np.where(np.isnan(values), -1, cells)

    @property
    def size(self) -> int:
        return len(self.edges) + 1 if self.words is None else len(self.words) + 1


def reference_bins(days: Sequence[DayLog]) -> dict[str, Bins]:
    """The bins of every column that the days log."""
    values: dict[str, list[np.ndarray]] = {}
    for day in days:
        for name, (column, _) in columns(day):
            values.setdefault(name, []).append(column)
    return {name: _bins(np.concatenate(parts)) for name, parts in values.items()}


def day_counts(day: DayLog, bins: Mapping[str, Bins]) -> dict[str, np.ndarray]:
    """By distribution, counts by bin; places of what was clicked and seen, and slates' hours, are among them."""
    counts = {}
    for name, (values, _) in columns(day):
        if name in bins:
            codes = bins[name].codes(values)
            counts[f"drift.{name}"] = np.bincount(codes[codes >= 0], minlength=bins[name].size)
    counts |= {name: np.bincount(place, minlength=PLACES) for name, place, _ in _places(day)}
    return counts | {"hours": np.bincount(_hours(day), minlength=HOURS)}


def requests_of_bin(day: DayLog, bins: Mapping[str, Bins], *, name: str, code: int) -> np.ndarray:
    """The requests whose values of the distribution `name` fall into one of its bins."""
    if name == "hours":
        return np.flatnonzero(_hours(day) == code)
    for place_name, place, request in _places(day):
        if place_name == name:
            return request[place == code]
    for column, (values, request) in columns(day):
        if name == f"drift.{column}":
            return request[bins[column].codes(values) == code]
    return np.empty(0, np.int64)


def input_figures(day: DayLog, bins: Mapping[str, Bins]) -> Figures:
    """Missing values, values outside the reference's range, columns that are gone, and the skew of recomputation."""
    figures: dict[str, Figure] = {}
    logged = dict(columns(day))
    for name, one in bins.items():
        values, request = logged.get(name, (np.empty(0), np.empty(0, np.int64)))
        absent = one.codes(values) < 0
        gone = 1.0 if len(day.slates) else np.nan
        figures[f"missing.{name}"] = Figure(float(absent.mean()) if len(values) else gone, request[absent])
        if one.words is None and len(values):
            outside = (values < one.low) | (values > one.high)
            figures[f"out_of_range.{name}"] = Figure(float(outside.mean()), request[outside])
    sample = day.rows(day.facts.recomputed)
    return figures | {f"skew.{name}": Figure(one.share, sample) for name, one in day.facts.skew.items()}


def worst_skew(skew: Mapping[str, FeatureDifference]) -> dict[str, FeatureDifference]:
    """The features that recompute otherwise, the worst first."""
    return dict(sorted(((name, one) for name, one in skew.items() if one.share), key=lambda row: -row[1].share))


def columns(day: DayLog) -> Iterator[tuple[str, tuple[np.ndarray, np.ndarray]]]:
    """Every logged column with one value a request or one an item: its values, and the request of each."""
    sizes = np.diff(item_offsets(day.slates))
    for column in ("numeric", "categorical", "predictions"):
        for name, lists in all_lists(day.slates, column).items():
            known = _regular(lists, sizes)
            if known is not None:
                yield (f"predicted_{name}" if column == "predictions" else name), (to_numpy(lists.values), known)
    for name in ITEM_COLUMNS:
        yield name, (to_numpy(flat(day.slates, name)).astype(np.float64), day.request)
    yield "surface", (day.surface, np.arange(len(day.surface)))


def _regular(lists: RequestLists, sizes: np.ndarray) -> np.ndarray | None:
    """int64 [values]: whose each value is; None for a history, which has a length of its own."""
    lengths = lists.lengths
    if ((lengths == sizes) | (lengths == 0)).all() or (lengths <= 1).all():
        return np.repeat(np.arange(len(lengths)), lengths)
    return None


def _hours(day: DayLog) -> np.ndarray:
    """int64 [R]: the hour of the day, from its start, in which each slate was answered; the 25th is the 24th."""
    start = pa.scalar(day.start, pa.timestamp("us", tz="UTC")).value
    return np.clip((microseconds(day.slates["time"]) - start) // HOUR_US, 0, 23)


def _places(day: DayLog) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """By surface: the places of what was seen and of what was clicked, 0 = the first, and the request of each."""
    surface = day.surface[day.request]
    for label, family in (("click", "position"), ("seen", "seen")):
        marked = to_numpy(day.joined.labels[label]) & day.shown
        for name in SURFACES:
            rows = marked & (surface == name)
            if rows.any():
                yield f"{family}.{name}", np.minimum(day.place[rows], PLACES) - 1, day.request[rows]


def _bins(values: np.ndarray) -> Bins:
    if values.dtype.kind == "f":
        finite = values[np.isfinite(values)]
        low, high = (finite.min(), finite.max()) if len(finite) else (-np.inf, np.inf)
        room = FAR * (high - low) if len(finite) else 0.0
        floor = 0.0 if low >= 0 else low - room
        return Bins(tuple(quantile_edges(values).tolist()), float(floor), float(high + room))
    words, counts = np.unique(values[[value is not None for value in values]].astype(str), return_counts=True)
    return Bins(words=tuple(words[np.argsort(-counts, kind="stable")][: BINS - 1].tolist()))
