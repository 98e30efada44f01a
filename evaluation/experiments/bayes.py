"""A Bayesian view of a relative effect, with a prior that is stated.

Effects of changes to a marketplace are small: the prior is normal around 0 with standard deviation 0.05, i.e. two
changes of three move a metric by less than 5 %. It shrinks what a small experiment shows, and does not make looking
early harmless: P(better) is not an any-time guarantee.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from evaluation.estimate import Estimate

PRIOR = 0.05  # standard deviation of relative effects


@dataclass(frozen=True)
class Posterior:
    """`effect` with its credible interval, P(effect > 0), and the expected loss of shipping where it is below 0."""

    effect: Estimate
    better: float
    loss: float
    prior: float


def posterior(value: float, error: float, n: int, *, prior: float = PRIOR, level: float = 0.95) -> Posterior:
    """Normal prior N(0, prior^2), normal likelihood: precision-weighted mean; loss = E[max(-effect, 0)]."""
    share = prior**2 / (prior**2 + error**2)
    mean, spread = share * value, float(np.sqrt(share) * error)
    half = float(norm.ppf((1 + level) / 2)) * spread
    loss = spread * norm.pdf(mean / spread) - mean * norm.cdf(-mean / spread)
    return Posterior(
        Estimate(mean, mean - half, mean + half, n, level), float(norm.cdf(mean / spread)), float(loss), prior
    )
