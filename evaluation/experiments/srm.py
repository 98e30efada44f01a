"""Sample-ratio mismatch: do the arms hold the shares of units that they were promised?

Counts are those of units by arm, [K] or cumulative over looks [T, K]; shares [K] are the promised ones. Where the
shares are broken, units were lost or counted twice, and no effect can be read.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln, logsumexp, xlogy
from scipy.stats import chi2

BELIEFS = (100.0, 10_000.0, 1_000_000.0)  # in the promised shares, in units: so that small and large mismatches show


@dataclass(frozen=True)
class RatioCheck:
    """`p_value` holds at every look at once; `shares` [K] are the observed ones of `units` units."""

    p_value: float
    shares: np.ndarray
    promised: np.ndarray
    units: int

    def broken(self, *, alpha: float = 0.001) -> bool:
        return self.p_value < alpha


def ratio_check(counts: np.ndarray, shares: np.ndarray) -> RatioCheck:
    """The sequential test over the looks [T, K] so far, of cumulative counts; [K] = one look."""
    looks, promised = np.atleast_2d(np.asarray(counts, float)), _normed(shares)
    if looks.shape[1] != len(promised):
        raise ValueError(f"counts of {looks.shape[1]} arms, shares of {len(promised)}: one share an arm.")
    last = looks[-1]
    observed = last / last.sum() if last.sum() else np.full(len(promised), np.nan)
    return RatioCheck(float(sequential_p_values(looks, promised)[-1]), observed, promised, int(last.sum()))


def sequential_p_values(counts: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """[..., T]: any-time p-values of cumulative counts [..., T, K] (Lindon & Malek 2022).

    The evidence against the promise is the odds of Dirichlet-multinomials around it to the multinomial itself: without
    a mismatch a martingale. p = the smallest 1 / evidence so far, 1 at most.
    """
    return np.minimum.accumulate(np.exp(-np.maximum(log_evidence(counts, shares), 0)), axis=-1)


def log_evidence(counts: np.ndarray, shares: np.ndarray, *, beliefs: tuple[float, ...] = BELIEFS) -> np.ndarray:
    """[...]: log of the odds of counts [..., K], mean over the beliefs; whatever order the units arrived in."""
    promised, counts = _normed(shares), np.asarray(counts, float)
    odds = [_log_odds(counts, promised * belief) for belief in beliefs]
    return logsumexp(odds, axis=0) - np.log(len(beliefs)) - xlogy(counts, promised).sum(axis=-1)


def _log_odds(counts: np.ndarray, belief: np.ndarray) -> np.ndarray:
    total = belief.sum()
    each = (gammaln(belief + counts) - gammaln(belief)).sum(axis=-1)
    return each + gammaln(total) - gammaln(total + counts.sum(axis=-1))


def fixed_p_value(counts: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """[...]: Pearson's chi-squared test of counts [..., K] at one look that was planned beforehand."""
    counts, promised = np.asarray(counts, float), _normed(shares)
    expected = counts.sum(axis=-1, keepdims=True) * promised
    with np.errstate(invalid="ignore", divide="ignore"):
        distance = ((counts - expected) ** 2 / expected).sum(axis=-1)
    return chi2.sf(distance, counts.shape[-1] - 1)


def _normed(shares: np.ndarray) -> np.ndarray:
    promised = np.asarray(shares, float)
    if not (promised > 0).all():
        raise ValueError(f"shares {promised.tolist()}: every arm needs a share above 0; leave the others out.")
    return promised / promised.sum()
