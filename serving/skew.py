"""Training-serving skew: features as a slate logged them against the same features computed again from the log.

They are computed again by the online form, a store that learns the log in order of time, or by the batch form, which
reads all of it at once and has nothing of the service's in common but the formulas.

A value is compared once: a number or category of the request or of one item; a list counts as one value. It is
`missing` where the log holds none and the store has one, `extra` the other way round, and `mismatched` where both have
one and they differ. NaN, None, an empty text and an empty list are no value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from features.backfill import backfill
from features.served import arrays, attach
from features.spec import Feature, FeatureSpec, Group, Kind
from features.store import FeatureStore
from marketplace.catalogue_records import CatalogueRecord, Subject
from marketplace.dataset import Dataset
from marketplace.log import LAST
from marketplace.schema import microseconds_of
from marketplace.slate import Slate, table_to_slates
from marketplace.splits import microseconds

ALL: Mapping[bool, np.ndarray] = {}
ROUNDING = 2.0**-22  # two units in the last place of a float32, which is what a slate logs


@dataclass(frozen=True)
class FeatureSkew:
    """Counts of one feature's compared values; those of other slates add up with `+`.

    `difference` is the sum of |logged - recomputed| over mismatched numbers, `largest` the greatest of them, both in
    the feature's unit; 0 for text.
    """

    values: int = 0
    mismatched: int = 0
    missing: int = 0
    extra: int = 0
    difference: float = 0.0
    largest: float = 0.0

    def __add__(self, other: FeatureSkew) -> FeatureSkew:
        return FeatureSkew(
            self.values + other.values,
            self.mismatched + other.mismatched,
            self.missing + other.missing,
            self.extra + other.extra,
            self.difference + other.difference,
            max(self.largest, other.largest),
        )

    @property
    def share(self) -> float:
        """Of the values, how many are mismatched, missing or extra."""
        return (self.mismatched + self.missing + self.extra) / max(self.values, 1)

    @property
    def mean_difference(self) -> float:
        """Mean |logged - recomputed| of the mismatched numbers."""
        return self.difference / self.mismatched if self.mismatched else 0.0


def skew_of(
    slates: Iterable[Slate],
    store: FeatureStore,
    *,
    feedback: pa.Table,
    shown: pa.Table,
    records: Iterable[CatalogueRecord] = (),
) -> dict[str, FeatureSkew]:
    """By feature, of slates in order of time.

    `feedback` (FEEDBACK) and `shown` (SLATE), in order of time, are what the log holds since the store's own end: a
    slate's features are computed from what happened strictly before it. The store has learned from all afterwards.
    `records`: how the catalogue has moved, which the store's knows. Each tells its last state alone, so that an item is
    compared in the slates after the last change of it and of its merchant; its texts, which the store does not move,
    are not.
    """
    events, impressions = _Timed(feedback, store.update), _Timed(shown, store.show)
    moved = {(one.subject, one.name): max(cell.time for cell in one.fields.values()) for one in records if one.fields}
    skew: dict[str, FeatureSkew] = {}
    for slate in slates:
        time = microseconds_of(slate.time)
        events.learn_before(time)
        impressions.learn_before(time)
        moves = [
            (moved.get((Subject.ITEM, item), 0), moved.get((Subject.MERCHANT, merchant), 0))
            for item, merchant in zip(slate.item_id, slate.merchant_id, strict=True)
        ]
        last = np.array(moves, np.int64).reshape(-1, 2)
        comparable = {True: last.max(axis=1, initial=0) <= time, False: last[:, 0] == 0}
        for name, part in slate_skew(slate, store, comparable=comparable).items():
            skew[name] = skew.get(name, FeatureSkew()) + part
    events.learn_before(LAST)
    impressions.learn_before(LAST)
    return skew


class _Timed:
    """Rows in order of time, which `learn` takes as time goes on."""

    def __init__(self, rows: pa.Table, learn: Callable[[pa.Table], None]) -> None:
        self._rows, self._learn, self._times, self._row = rows, learn, microseconds(rows["time"]), 0

    def learn_before(self, time: int) -> None:
        stop = int(np.searchsorted(self._times, time))
        if stop > self._row:
            self._learn(self._rows.slice(self._row, stop - self._row))
            self._row = stop


def batch_skew(slates: pa.Table, dataset: Dataset, *, spec: FeatureSpec) -> dict[str, FeatureSkew]:
    """By feature, of `slates` (SLATE) against the batch form over all that `dataset` recorded before each of them.

    Numbers that are within ROUNDING of each other are the same: the two forms add up in another order.
    """
    batch = attach(slates, backfill(dataset, slates, spec=spec))
    skew = {feature.name: FeatureSkew() for feature in spec.features}
    for slate, again in zip(table_to_slates(slates), table_to_slates(batch), strict=True):
        recomputed = {**again.categorical, **again.numeric}
        for name, part in _logged_skew(slate, recomputed, spec, rounding=ROUNDING).items():
            skew[name] += part
    return skew


def slate_skew(
    slate: Slate, store: FeatureStore, *, comparable: Mapping[bool, np.ndarray] = ALL
) -> dict[str, FeatureSkew]:
    """By feature, of one slate against what `store` knows now.

    `comparable` bool [n]: the items whose numbers (True) and whose texts (False) are compared, empty = all.
    """
    rows = store.catalogue.rows(pa.array(slate.item_id, pa.string()))
    frame = store.lookup(slate, rows, price=slate.price).frame()
    numeric, categorical = arrays(frame)
    return _logged_skew(slate, {**categorical, **numeric}, frame.spec, comparable=comparable)


def _logged_skew(
    slate: Slate,
    recomputed: Mapping[str, np.ndarray],
    spec: FeatureSpec,
    *,
    rounding: float = 0.0,
    comparable: Mapping[bool, np.ndarray] = ALL,
) -> dict[str, FeatureSkew]:
    logged, skew = {**slate.categorical, **slate.numeric}, {}
    for feature in spec.features:
        again = recomputed[feature.name]
        before = logged.get(feature.name, again[:0])
        if comparable and feature.group is not Group.USER and len(before) == len(again) == len(slate):
            rows = comparable[feature.kind is Kind.NUMBER]
            before, again = before[rows], again[rows]
        skew[feature.name] = compared(feature, before, again, rounding=rounding)
    return skew


def compared(feature: Feature, logged: np.ndarray, recomputed: np.ndarray, *, rounding: float = 0.0) -> FeatureSkew:
    """Of one feature's arrays in a slate; a logged array of another length is missing, value by value.

    Numbers are the same up to `rounding`, a share of the recomputed one.
    """
    if feature.kind is Kind.CATEGORIES and feature.group is Group.USER:
        logged, recomputed = (np.array([" ".join(map(str, cells))], object) for cells in (logged, recomputed))
    if len(logged) != len(recomputed):
        logged = np.full(len(recomputed), np.nan if feature.kind is Kind.NUMBER else None, recomputed.dtype)
    has, had = _present(logged), _present(recomputed)
    both = has & had
    wrong = both & (logged != recomputed)
    size = np.zeros(0)
    if feature.kind is Kind.NUMBER:
        difference = np.abs(logged.astype(np.float64) - recomputed)
        wrong &= difference > rounding * np.abs(recomputed)
        size = difference[wrong]
    return FeatureSkew(
        values=int((has | had).sum()),
        mismatched=int(wrong.sum()),
        missing=int((had & ~has).sum()),
        extra=int((has & ~had).sum()),
        difference=float(size.sum()),
        largest=float(size.max(initial=0.0)),
    )


def _present(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind == "f":
        return ~np.isnan(values)
    return np.array([value is not None and value != "" for value in values], bool)
