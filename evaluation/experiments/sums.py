"""Mergeable sums over units: all that an effect needs to know of the rows, so that a shard or database returns them.

Conventions: C columns hold one number a unit (its clicks, its orders, its orders before the experiment, ...); a group
is an arm, or an arm in a stratum. Sums have any leading shape [...] of groups and add up with `+`: over disjoint units.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

UNITS = "units"  # the column that is 1 for every unit


@dataclass(frozen=True)
class UnitSums:
    """`n` [...] units, `total` [..., C] = sum x, `products` [..., C, C] = sum x x', of the named columns."""

    columns: tuple[str, ...]
    n: np.ndarray
    total: np.ndarray
    products: np.ndarray

    def __add__(self, other: UnitSums) -> UnitSums:
        if self.columns != other.columns:
            raise ValueError(f"sums of {self.columns} and of {other.columns}: only sums of the same columns add up.")
        return UnitSums(self.columns, self.n + other.n, self.total + other.total, self.products + other.products)

    def __getitem__(self, group) -> UnitSums:
        """The sums of some groups, by an index into the leading shape."""
        return UnitSums(self.columns, self.n[group], self.total[group], self.products[group])

    @cached_property
    def means(self) -> Means:
        """Mean of each column, and the covariance of those means: S / n with S over n - 1; NaN below two units."""
        with np.errstate(invalid="ignore", divide="ignore"):
            n = self.n[..., None].astype(float)
            mean = self.total / n
            centred = self.products - mean[..., :, None] * self.total[..., None, :]
            covariance = centred / np.where(self.n > 1, self.n * (self.n - 1.0), np.nan)[..., None, None]
        return Means(self.columns, self.n, mean, covariance)


@dataclass(frozen=True)
class Means:
    """`mean` [..., C] of the columns over `n` [...] units, and the `covariance` [..., C, C] of those means."""

    columns: tuple[str, ...]
    n: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray


def unit_sums(columns: Mapping[str, np.ndarray], group: np.ndarray, *, groups: int) -> UnitSums:
    """Sums by group of columns [U] and of `units`; `group` [U] numbers each unit's, -1 = in none.

    Raises ValueError for a column with a value that is not finite: what is not known of a unit is left out before.
    """
    rows = np.flatnonzero(group >= 0)
    group = group[rows]
    values = {UNITS: np.ones(len(rows))}
    values |= {name: np.asarray(column, float)[rows] for name, column in columns.items()}
    for name, column in values.items():
        if not np.isfinite(column).all():
            raise ValueError(f"column {name!r}: unit {rows[(~np.isfinite(column)).argmax()]} is not finite.")
    names, size = tuple(values), len(values)
    total, products = np.empty((groups, size)), np.empty((groups, size, size))
    for at, first in enumerate(values.values()):
        total[:, at] = np.bincount(group, first, minlength=groups)
        for to, second in enumerate(list(values.values())[: at + 1]):
            products[:, at, to] = products[:, to, at] = np.bincount(group, first * second, minlength=groups)
    return UnitSums(names, np.bincount(group, minlength=groups), total, products)


def post_stratified(sums: UnitSums, weights: np.ndarray) -> Means:
    """One arm's means over strata: sum_s w_s mean_s, with covariance sum_s w_s^2 covariance_s.

    sums [..., S], an arm's by stratum; weights [S] sum to 1: the strata's shares of the units of both arms (Miratrix,
    Sekhon & Yu 2013). A stratum without two units of the arm makes the means NaN.
    """
    means = sums.means
    mean = np.einsum("s,...sc->...c", weights, means.mean)
    covariance = np.einsum("s,...scd->...cd", np.square(weights), means.covariance)
    return Means(sums.columns, sums.n.sum(axis=-1), mean, covariance)
