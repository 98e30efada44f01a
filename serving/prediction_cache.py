"""Prediction cache: what the ranker said of each item lately, over all shoppers, for when it cannot be asked.

    mean <- mean + FADING x (prediction - mean)        per item and head, over the slates that it ranked

An item that was in none of them counts as the least of the candidates that were.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from features.spec import ModelInputs
from serving.rungs import CACHED
from serving.scorer import ScorerAnswer

FADING = 0.1  # share of the newest in a mean


class NothingCached(LookupError):
    """None of the candidates was in a slate that the ranker ranked."""


class PredictionCache:
    """Means of `heads` float32 [n_items, H]; memory is taken by the items that were met."""

    def __init__(self, heads: tuple[str, ...], *, n_items: int) -> None:
        self.heads = heads
        self.empty = True
        self._mean, self._met = np.zeros((n_items, len(heads)), np.float32), np.zeros(n_items, bool)

    def learn(self, rows: np.ndarray, predictions: Mapping[str, np.ndarray]) -> None:
        """From a slate's items (catalogue rows [n], each once) and its predictions [n] by head."""
        share, mean = np.where(self._met.take(rows), FADING, 1.0), self._mean.take(rows, axis=0)
        newest = np.empty(mean.shape)
        for column, head in enumerate(self.heads):
            newest[:, column] = predictions[head]
        self._mean[rows] = mean + share[:, None] * (newest - mean)
        self._met[rows] = True
        self.empty = False

    def of(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """float64 [n] by head; raises NothingCached."""
        met = self._met[rows]
        if not met.any():
            raise NothingCached("none of the candidates is in the cache of predictions yet")
        columns = self._mean.take(rows, axis=0).T.astype(np.float64)
        least = columns[:, met].min(axis=1, keepdims=True)
        return dict(zip(self.heads, np.where(met, columns, least), strict=True))


@dataclass(frozen=True)
class CachedScorer:
    """The cache in the scorer's place, and the reason why; follows `Scorer`."""

    cache: PredictionCache
    reason: str

    @property
    def heads(self) -> tuple[str, ...]:
        return self.cache.heads

    def score(self, inputs: ModelInputs, *, items: np.ndarray | None = None) -> ScorerAnswer:
        """See `PredictionCache.of`."""
        if items is None:
            raise NothingCached("predictions are cached by catalogue row, and none was named")
        return ScorerAnswer(self.cache.of(items), by=f"{CACHED}, {self.reason}")
