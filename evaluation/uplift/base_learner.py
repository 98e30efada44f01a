"""Base learners: any regression that the meta-learners are made of; `jobs` passes boosted trees in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np


class FittedMean(Protocol):
    """E[target | x] as fitted."""

    def predict(self, table: np.ndarray) -> np.ndarray:
        """float64 [N] from float [N, F]."""
        ...


class BaseLearner(Protocol):
    """Fits E[target | x] on rows that count by their weight; a target of 0 and 1 alone is a probability."""

    def fit(self, table: np.ndarray, target: np.ndarray, *, weight: np.ndarray | None = None) -> FittedMean: ...


@dataclass(frozen=True)
class LinearRegression:
    """Weighted ridge regression with an intercept that is not shrunk; follows `BaseLearner`.

    `ridge`: added to the diagonal, per unit of weight, of features as they come.
    """

    ridge: float = 1e-6

    def fit(self, table: np.ndarray, target: np.ndarray, *, weight: np.ndarray | None = None) -> LinearFit:
        weight = np.ones(len(target)) if weight is None else weight
        x = np.column_stack([np.ones(len(table)), table]).astype(np.float64)
        weighed = x * weight[:, None]
        shrunk = np.full(x.shape[1], self.ridge * weight.sum())
        shrunk[0] = 0.0
        return LinearFit(np.linalg.lstsq(weighed.T @ x + np.diag(shrunk), weighed.T @ target, rcond=None)[0])


@dataclass(frozen=True)
class LinearFit:
    """Intercept and slopes [F + 1]; follows `FittedMean`."""

    coefficients: np.ndarray

    def predict(self, table: np.ndarray) -> np.ndarray:
        return self.coefficients[0] + table.astype(np.float64) @ self.coefficients[1:]
