"""Plackett-Luce rankings by Gumbel noise, with the exact propensity of every choice.

P(item here | items above) = exp(score) / sum of exp(score) over the candidates not yet placed. Sorting
score + Gumbel noise draws from it (Yellott 1977). Scores are [R, C]; -inf = not a candidate.
"""

from __future__ import annotations

import numpy as np


def draw(scores: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Columns in ranked order, int64 [R, C]; columns that are no candidates come last."""
    return np.argsort(-(scores + rng.gumbel(size=scores.shape)), axis=1)


def propensities(scores: np.ndarray, order: np.ndarray) -> np.ndarray:
    """P(item at this rank | items above), float64 [R, C] in ranked order; 0 for columns that are no candidates."""
    ranked = np.take_along_axis(scores, order, axis=1)
    top = np.where(np.isfinite(ranked), ranked, -np.inf).max(axis=1, keepdims=True)
    weight = np.exp(ranked - np.where(np.isfinite(top), top, 0.0))
    remaining = weight[:, ::-1].cumsum(axis=1)[:, ::-1]
    return np.divide(weight, remaining, out=np.zeros_like(weight), where=weight > 0)
