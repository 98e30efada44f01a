"""Bootstrap over shoppers: the requests of one shopper stand or fall together, so shoppers are what is resampled.

`resample` draws, once, how often each of B samples holds each of R requests; every statistic of every model is then
weighted by the same counts, which makes differences between models paired.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evaluation.estimate import Estimate

BLOCK = 1 << 22  # counts turned into float64 at a time: 32 MB


@dataclass(frozen=True)
class Resampled:
    """A statistic on the data (`value`) and on B bootstrap samples (`draws` [B]) of `n` shoppers."""

    value: float
    draws: np.ndarray
    n: int

    def estimate(self, *, level: float = 0.95) -> Estimate:
        """The percentile interval (Efron & Tibshirani 1993, section 13.3); NaN without a usable draw."""
        low, high = np.nan, np.nan
        if not np.isnan(self.draws).all():
            low, high = np.nanquantile(self.draws, [(1 - level) / 2, (1 + level) / 2])
        return Estimate(float(self.value), float(low), float(high), self.n, level)

    def __sub__(self, other: Resampled) -> Resampled:
        """The paired difference: both must come from the same counts."""
        return Resampled(self.value - other.value, self.draws - other.draws, min(self.n, other.n))


@dataclass(frozen=True)
class Samples:
    """B samples of R requests: `counts` uint16 [B, R], how often each holds a request; `shopper` int [R], whose."""

    counts: np.ndarray
    shopper: np.ndarray

    @property
    def requests(self) -> int:
        return len(self.shopper)

    def units(self, requests: np.ndarray) -> int:
        """How many shoppers made these requests (positions or bool [R]): what was resampled of them."""
        return len(np.unique(self.shopper[requests]))


def resample(
    requests: int, rng: np.random.Generator, *, replicates: int = 200, shopper: np.ndarray | None = None
) -> Samples:
    """Samples with replacement of the shoppers, each with all requests of its own.

    shopper [R]: whose request it is (any values that compare); None = each request is its own shopper's.
    """
    unit = np.arange(requests) if shopper is None else np.unique(shopper, return_inverse=True)[1]
    units, counts = int(unit.max(initial=-1)) + 1, np.empty((replicates, requests), np.uint16)
    for row in counts:
        row[:] = np.bincount(rng.integers(units, size=units), minlength=units)[unit]
    return Samples(counts, unit)


def totals(per_request: np.ndarray, samples: Samples) -> np.ndarray:
    """[B, C]: the column sums of `per_request` [R, C] in every sample."""
    counts, step = samples.counts, max(1, BLOCK // max(samples.requests, 1))
    blocks = [counts[at : at + step].astype(np.float64) @ per_request for at in range(0, len(counts), step)]
    return np.concatenate(blocks)


def means(per_request: np.ndarray, samples: Samples) -> list[Resampled]:
    """The mean of each column of `per_request` [R, C] over the requests where it is not NaN."""
    present = ~np.isnan(per_request)
    filled = np.where(present, per_request, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        values = filled.sum(axis=0) / present.sum(axis=0)
        draws = totals(filled, samples) / totals(present.astype(np.float64), samples)
    return [
        Resampled(value, draw, samples.units(some))
        for value, draw, some in zip(values, draws.T, present.T, strict=True)
    ]
