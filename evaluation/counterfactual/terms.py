"""What every estimator reduces to: sums over independent units that add up across shards.

value = sum base / sum count + sum correction / sum normaliser. IPS has base 0 and normaliser = count; self-normalised
estimators have normaliser = the weights; doubly robust ones have base = the model's answer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Terms:
    """Float64 [U] each, one row an independent unit; None = 0 for base, 1 for count, `count` for normaliser."""

    correction: np.ndarray
    base: np.ndarray | None = None
    normaliser: np.ndarray | None = None
    count: np.ndarray | None = None

    @property
    def units(self) -> int:
        return len(self.correction)

    @property
    def total(self) -> np.ndarray:
        """[4]: the sums of the columns, without laying them out."""
        count = self.units if self.count is None else self.count.sum()
        base = 0.0 if self.base is None else self.base.sum()
        normaliser = count if self.normaliser is None else self.normaliser.sum()
        return np.array([base, count, self.correction.sum(), normaliser])

    @property
    def value(self) -> float:
        return float(value_of(self.total))

    @property
    def columns(self) -> np.ndarray:
        """[U, 4]: base, count, correction, normaliser."""
        count = np.ones(self.units) if self.count is None else self.count
        base = np.zeros(self.units) if self.base is None else self.base
        return np.column_stack([base, count, self.correction, count if self.normaliser is None else self.normaliser])

    def by_unit(self, unit: np.ndarray, units: int) -> Terms:
        """Rows of one unit (request, shopper, day) summed: they stand or fall together."""
        base, count, correction, normaliser = (np.bincount(unit, c, minlength=units) for c in self.columns.T)
        return Terms(correction, base, normaliser, count)

    def moments(self) -> Moments:
        columns = self.columns
        return Moments(self.units, columns.sum(axis=0), columns.T @ columns)


@dataclass(frozen=True)
class Moments:
    """Sufficient sums of an estimate and its standard error; `+` merges shards. Leading shape [...] allowed."""

    units: int
    total: np.ndarray  # [..., 4]
    cross: np.ndarray  # [4, 4]: sum of products

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.units + other.units, self.total + other.total, self.cross + other.cross)

    @property
    def value(self) -> np.ndarray:
        return value_of(self.total)

    @property
    def error(self) -> float:
        """The standard error by the delta method, units independent."""
        gradient = gradient_of(self.total)
        mean = self.total / self.units
        covariance = self.cross / self.units - np.outer(mean, mean)
        return float(np.sqrt(max(gradient @ covariance @ gradient * self.units, 0)))


def value_of(total: np.ndarray) -> np.ndarray:
    """[...]: the value from sums [..., 4]."""
    base, count, correction, normaliser = np.moveaxis(total, -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return base / count + correction / normaliser


def gradient_of(total: np.ndarray) -> np.ndarray:
    """[4]: the value's change per unit of each sum."""
    base, count, correction, normaliser = total
    return np.array([1 / count, -base / count**2, 1 / normaliser, -correction / normaliser**2])


def influence(terms: Terms) -> np.ndarray:
    """[U]: what each unit moves the value by, times U; mean 0."""
    columns = terms.columns
    return columns @ gradient_of(columns.sum(axis=0)) * terms.units
