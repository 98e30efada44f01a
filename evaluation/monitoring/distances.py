"""Distances between two distributions from counts by bin, so that shards and days add up (`+`).

Conventions: `counts` and `reference` are [..., bins] of the same bins, p and q their shares; a share of 0 counts as
SMALLEST. Bins of a number are the reference's quantiles (`quantile_edges`, 30 of them), those of words its commonest.

    psi = sum (p - q) log(p / q)        population stability index; .1 is a small shift, .25 a large one by custom
    ks  = max |P - Q|                   of the cumulated shares: exact at the edges, else a lower bound
    js  = (KL(p | m) + KL(q | m)) / 2   m = (p + q) / 2, in nats: 0 to log 2
    wasserstein = sum |P - Q| width     of the edges, so in the number's unit; what lies beyond them is at them

Sources: Lin 1991 (Jensen-Shannon); Yurdakul 2018, Statistical Properties of the Population Stability Index.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import rel_entr
from scipy.stats import gamma

BINS = 30
SMALLEST = 1e-4  # share of an empty bin


def quantile_edges(reference: np.ndarray, *, bins: int = BINS) -> np.ndarray:
    """[<= bins - 1] inner edges, distinct quantiles of the reference's finite values."""
    finite = reference[np.isfinite(reference)]
    return np.unique(np.quantile(finite, np.linspace(0, 1, bins + 1)[1:-1])) if len(finite) else np.empty(0)


def psi(counts: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Population stability index [...]."""
    p, q = (np.maximum(_shares(each), SMALLEST) for each in (counts, reference))
    return ((p - q) * np.log(p / q)).sum(axis=-1)


def kolmogorov_smirnov(counts: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Largest difference of the distribution functions at the edges [...]."""
    return np.abs(np.cumsum(_shares(counts) - _shares(reference), axis=-1)).max(axis=-1)


def jensen_shannon(counts: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Jensen-Shannon divergence [...], nats."""
    p, q = _shares(counts), _shares(reference)
    return (rel_entr(p, (p + q) / 2) + rel_entr(q, (p + q) / 2)).sum(axis=-1) / 2


def wasserstein(counts: np.ndarray, reference: np.ndarray, *, edges: np.ndarray) -> np.ndarray:
    """Earth mover's distance [...] in the unit of `edges` [bins - 1]."""
    apart = np.abs(np.cumsum(_shares(counts) - _shares(reference), axis=-1))[..., :-1]
    width = np.append(np.diff(edges), 0.0)
    return (apart[..., :-1] * width[:-1]).sum(axis=-1) if len(edges) > 1 else np.zeros(apart.shape[:-1])


@dataclass(frozen=True)
class ClusteredTest:
    """A distance of two samples beside what chance makes of it: its mean there, and P(as far or farther)."""

    distance: float
    expected: float
    p_value: float


def clustered_psi(
    of_units: np.ndarray, second: np.ndarray, rng: np.random.Generator, *, permutations: int = 400
) -> ClusteredTest:
    """PSI of the units where `second` (bool [U]) against the others, by permutation of whole units.

    of_units [U, bins]: a unit's (a request's, a shopper's) counts. Rows of one unit go together, so that a test of rows
    would alarm at many times its rate. The tail is a gamma distribution with the permutations' mean and variance.
    """
    size, everyone = int(second.sum()), of_units.sum(axis=0)
    ranks = np.argsort(rng.random((permutations, len(of_units))), axis=1) < size
    drawn = ranks.astype(np.float64) @ of_units
    chance = psi(drawn, everyone - drawn)
    chosen = of_units[second].sum(axis=0)
    distance = float(psi(chosen, everyone - chosen))
    mean, spread = chance.mean(), max(chance.var(), 1e-300)
    return ClusteredTest(distance, float(mean), float(gamma.sf(distance, mean**2 / spread, scale=spread / mean)))


def _shares(counts: np.ndarray) -> np.ndarray:
    return counts / np.maximum(counts.sum(axis=-1, keepdims=True), 1e-300)
