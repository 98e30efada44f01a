"""Plackett-Luce rankings: items are drawn without replacement, each place with odds exp(u).

P(item here | items above) = exp(u) / sum of exp(u) over the items that are not above. Log-odds u are [..., C], as are
orders; -inf = not a candidate. Source: Plackett 1975; drawn by Gumbel noise (Yellott 1977).
"""

from __future__ import annotations

import numpy as np


def draw(utility: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Columns in ranked order, int64 [..., C]; columns that are no candidates come last."""
    return np.argsort(-(utility + rng.gumbel(size=utility.shape)), axis=-1)


def remaining(ranked: np.ndarray, rest: np.ndarray | float = -np.inf) -> np.ndarray:
    """[..., K]: log of the odds left before each place; ranked [..., K] utilities by place, rest [...] of all others.

    Summed in logs from the last place up: neither a subtraction nor an underflow can spoil peaked odds.
    """
    last = np.broadcast_to(rest, ranked.shape[:-1])[..., None]
    return np.logaddexp.accumulate(np.concatenate([last, ranked[..., ::-1]], axis=-1), axis=-1)[..., :0:-1]


def conditionals(ranked: np.ndarray, rest: np.ndarray | float = -np.inf) -> np.ndarray:
    """[..., K]: P(item here | items above) of items with utilities `ranked` by place; 0 where there is none."""
    left = remaining(ranked, rest)
    return np.exp(np.where(ranked > -np.inf, ranked - np.where(left > -np.inf, left, 0.0), -np.inf))


def propensities(utility: np.ndarray, order: np.ndarray) -> np.ndarray:
    """P(item at this rank | items above), float64 [..., C] in ranked order; 0 for columns that are no candidates."""
    return conditionals(np.take_along_axis(utility, order, axis=-1))
