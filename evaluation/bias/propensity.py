"""Probabilities of slates: exact where there is a formula, sampled with a stated error where there is not.

A slate's propensity is the product over positions of P(item here | items above, policy). Plackett-Luce draws position
by position from a softmax of logits over the items that remain; perturbed weights are a mixture of such policies.
Requests own rows offsets[r]:offsets[r+1]; `position` is 1-based, 0 = not shown; conditionals are [R, K], NaN where the
slate is shorter than K.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp, softmax

from marketplace.plackett_luce import conditionals, draw


@dataclass(frozen=True)
class Sampled:
    """Probabilities found by sampling, and their standard error: NaN-free arrays of one shape."""

    probability: np.ndarray
    error: np.ndarray


def by_position(values: np.ndarray, position: np.ndarray, offsets: np.ndarray, *, depth: int) -> np.ndarray:
    """[R, depth]: flattened `values` laid out by shown position, NaN where nothing was shown."""
    request = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    shown = (position > 0) & (position <= depth)
    table = np.full((len(offsets) - 1, depth), np.nan)
    table[request[shown], position[shown] - 1] = values[shown]
    return table


def plackett_luce(logits: np.ndarray, position: np.ndarray, offsets: np.ndarray, *, depth: int) -> np.ndarray:
    """[R, depth]: P(item here | items above) of the shown slate; logits [N] are scores / temperature.

    A slate must fill its positions from 1 without gaps; items shown below `depth` count as remaining.
    """
    shown = by_position(logits, position, offsets, depth=depth)
    present = ~np.isnan(shown)
    others = _log_sum(np.where((position > 0) & (position <= depth), -np.inf, logits), offsets)
    return np.where(present, conditionals(np.where(present, shown, -np.inf), others), np.nan)


def _log_sum(logits: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """[R]: log sum exp by request, -inf where there is nothing."""
    request = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    highest = np.full(len(offsets) - 1, -np.inf)
    np.maximum.at(highest, request, logits)
    anchor = np.where(np.isfinite(highest), highest, 0.0)
    with np.errstate(divide="ignore"):
        return anchor + np.log(np.bincount(request, np.exp(logits - anchor[request]), minlength=len(anchor)))


def slate_probability(conditional: np.ndarray) -> np.ndarray:
    """[R]: the product over the shown positions."""
    return np.nanprod(conditional, axis=1)


def plackett_luce_sample(logits: np.ndarray, *, depth: int, rng: np.random.Generator, samples: int) -> np.ndarray:
    """int [samples, depth]: slates of one request's items, by Gumbel perturbation (Yellott 1977)."""
    return draw(np.broadcast_to(logits, (samples, len(logits))), rng)[:, :depth]


def plackett_luce_marginals(
    logits: np.ndarray, *, depth: int, rng: np.random.Generator, samples: int = 2000
) -> Sampled:
    """[depth, M]: P(item at position) of one request, with its standard error.

    Averages the exact P(item here | sampled items above), not the sampled items: the first position is exact, and the
    others have less variance than counting has (Rao-Blackwell).
    """
    slates = plackett_luce_sample(logits, depth=depth, rng=rng, samples=samples)
    left = np.broadcast_to(logits, (samples, len(logits))).copy()
    mean, error = np.empty((depth, len(logits))), np.empty((depth, len(logits)))
    for at in range(depth):
        chance = softmax(left, axis=1)
        mean[at], error[at] = chance.mean(axis=0), chance.std(axis=0) / np.sqrt(samples)
        np.put_along_axis(left, slates[:, at : at + 1], -np.inf, axis=1)
    return Sampled(mean, error)


def mixture(conditionals: np.ndarray) -> Sampled:
    """[R, K]: P(item here | items above) of a policy whose parameters are drawn at random per request.

    conditionals [D, R, K]: under each of D draws. P_k = E[prod_{j<=k} p_j] / E[prod_{j<k} p_j]: slates above make some
    draws likelier, so the mean of the conditionals would be wrong. Error by the delta method of the ratio.
    """
    down_to = np.cumprod(conditionals, axis=2)
    above = np.concatenate([np.ones_like(down_to[:, :, :1]), down_to[:, :, :-1]], axis=2)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = down_to.mean(axis=0) / above.mean(axis=0)
        residual = (down_to - value * above) / above.mean(axis=0)
    return Sampled(value, residual.std(axis=0) / np.sqrt(len(conditionals)))


def log_slate_probability(conditional: np.ndarray) -> np.ndarray:
    """[R]: sum of logs over the shown positions, where the product of many would underflow."""
    return np.nansum(np.log(conditional), axis=1)


def mixture_of_slates(log_probability: np.ndarray) -> np.ndarray:
    """[R]: log P(slate) of a mixture of D equally likely policies from log P(slate) [D, R] under each."""
    return logsumexp(log_probability, axis=0) - np.log(len(log_probability))
