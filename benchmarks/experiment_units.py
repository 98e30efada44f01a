"""Units of a log by day, for benchmarks that draw thousands of experiments over the same units.

A draw is a row of weights [units] for each arm: 0 or 1 where units are assigned, counts where they are resampled. Sums
of all draws are one product of matrices, and every effect is computed for all of them at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evaluation.experiments.sums import UnitSums
from evaluation.experiments.unit_table import microseconds, request_columns
from marketplace.attribution import Attribution
from marketplace.keys import one_array

DAY = 86_400_000_000
COUNTED = ("clicks", "impressions", "orders", "gmv")


@dataclass(frozen=True)
class DailyUnits:
    """`values` [days, U, C]: columns of each unit up to the end of each day, 0 before it first comes.

    Columns: `units` = 1 once it came, what came of it, and the same before the first day (`_before`).
    """

    columns: tuple[str, ...]
    values: np.ndarray
    country: np.ndarray  # int [U]: a stratum

    @property
    def units(self) -> int:
        return self.values.shape[1]

    def sums(self, day: int, weights: np.ndarray) -> UnitSums:
        """[draws]: of the units with `weights` [draws, U], as they stood at the end of `day`."""
        return sums_of(self.columns, self.values[day], weights)


def sums_of(columns: tuple[str, ...], values: np.ndarray, weights: np.ndarray) -> UnitSums:
    """[draws]: sums of `values` [U, C], whose first column is `units`, with `weights` [draws, U]."""
    at, to = np.triu_indices(len(columns))
    pairs = weights @ (values[:, at] * values[:, to])
    products = np.empty((len(weights), len(columns), len(columns)))
    products[:, at, to] = products[:, to, at] = pairs
    total = weights @ values
    return UnitSums(columns, total[:, 0], total, products)


def daily_units(joined: Attribution, *, first: int, days: int, name: str = "user_id") -> DailyUnits:
    """Units of the slates of `days` days from day `first` of the log on; what lies before are their columns before."""
    slates, requests = joined.slates, request_columns(joined)
    encoded = one_array(slates[name]).cast("string").dictionary_encode()
    unit, day = encoded.indices.to_numpy(), microseconds(slates) // DAY
    day = day - day.min() - first
    inside = (day >= 0) & (day < days)
    known, place = np.unique(unit[inside], return_inverse=True)
    values = np.zeros((days, len(known), 1 + 2 * len(COUNTED)))
    first_day = np.full(len(known), days)
    np.minimum.at(first_day, place, day[inside])
    values[..., 0] = np.arange(days)[:, None] >= first_day
    for at, column in enumerate(COUNTED, start=1):
        np.add.at(values[..., at], (day[inside], place), requests[column][inside])
        values[..., at] = values[..., at].cumsum(axis=0)
        earlier = np.flatnonzero((day < 0) & np.isin(unit, known))
        before = np.bincount(np.searchsorted(known, unit[earlier]), requests[column][earlier], minlength=len(known))
        values[..., at + len(COUNTED)] = before * values[..., 0]
    country = dict(zip(unit.tolist(), _countries(slates), strict=True))
    columns = ("units", *COUNTED, *(f"{column}_before" for column in COUNTED))
    return DailyUnits(columns, values, np.unique([country[one] for one in known.tolist()], return_inverse=True)[1])


def halves(units: int, draws: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Weights [draws, units] of two arms: every unit is in one of them, by a fair coin."""
    variant = (rng.random((draws, units)) < 0.5).astype(np.float64)
    return 1 - variant, variant


def resampled_halves(units: int, draws: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Weights [draws, units] of two arms of units / 2 each, drawn with replacement."""

    def counts() -> np.ndarray:
        return np.stack([np.bincount(rng.integers(units, size=units // 2), minlength=units) for _ in range(draws)])

    return counts().astype(np.float64), counts().astype(np.float64)


def _countries(slates) -> list[str | None]:
    from marketplace.slate_columns import context

    return [country or "" for country in context(slates, "country").to_pylist()]
