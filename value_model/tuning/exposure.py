"""How much each candidate is looked at: the sum over places of P(it stands there) times P(the place is examined).

Arrays are [R, n] over requests and candidates; examination is [R, K], 0 beyond what the request shows. Under the
position-based model (a reward depends on the item and on whether its place is examined) exposure is all that a
ranking contributes: the expected reward of a slate is the sum over items of exposure times P(reward | examined).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from evaluation.bias.propensity import Sampled
from value_model.slate_policies.perturbed_weights import PerturbedWeights
from value_model.slate_policies.slate_policy import LOWEST
from value_model.tuning.sweep import Sweep

BLOCK = 1 << 18  # numbers at a time
FAINT = 1e-12  # exposure of a candidate that practically never shows: its probability is above 0


def of_order(top: np.ndarray, examination: np.ndarray, *, width: int) -> np.ndarray:
    """[..., R, n]: exposure of a certain order, top int [..., R, k]."""
    places = min(top.shape[-1], examination.shape[-1])
    exposure = np.zeros((*top.shape[:-1], width))
    looks = np.broadcast_to(examination[:, :places], (*top.shape[:-1], places))
    np.put_along_axis(exposure, top[..., :places].astype(np.int64), looks, axis=-1)
    return exposure


def of_perturbed(
    sweep: Sweep, weights: Mapping[str, np.ndarray], design: PerturbedWeights, examination: np.ndarray
) -> np.ndarray:
    """[R, n]: exposure under weights drawn afresh for each request around its own, [R] each; all draws are ranked."""
    exposure = np.zeros(sweep.mask.shape)
    for factors in _factors(design, tuple(weights)):
        drawn = {name: (factor * weights[name])[None] for name, factor in factors.items()}
        top = sweep.top(drawn, k=examination.shape[1])[0]
        exposure += of_order(top, examination, width=sweep.mask.shape[1])
    return exposure / design.draws


def perturbed_propensity(
    sweep: Sweep, weights: Mapping[str, np.ndarray], design: PerturbedWeights, order: np.ndarray
) -> np.ndarray:
    """[R, K]: P(item here | items above) of shown slates under such draws, `order` int [R, K], -1 = nothing shown.

    The share of the draws that agree on the items above and agree here, too; NaN where no draw agrees above.
    """
    agree = np.zeros(order.shape)
    for factors in _factors(design, tuple(weights)):
        drawn = {name: (factor * weights[name])[None] for name, factor in factors.items()}
        agree += np.logical_and.accumulate(sweep.top(drawn, k=order.shape[1])[0] == order, axis=1)
    above = np.column_stack([np.full(len(order), design.draws), agree[:, :-1]])
    return np.divide(agree, above, out=np.full(order.shape, np.nan), where=above > 0)


def _factors(design: PerturbedWeights, names: tuple[str, ...]) -> list[dict[str, float]]:
    """What every draw multiplies each weight by."""
    return [design.weights(dict.fromkeys(names, 1.0), draw) for draw in range(design.draws)]


def of_plackett_luce(
    utility: np.ndarray, examination: np.ndarray, *, rng: np.random.Generator, samples: int = 48
) -> Sampled:
    """[R, n]: exposure under Plackett-Luce with log-odds `utility` (LOWEST or -inf = absent), with its standard error.

    As an exponential race: item i arrives at T_i ~ Exp(e^u_i). Given the others' times it stands in the first k
    with probability 1 - exp(-e^u_i T_(k)), T_(k) the k-th of the others. Averaging these exact probabilities instead
    of the sampled ranks leaves no item without exposure, and little variance. No request may show more than it has.
    """
    exposure, error = np.empty(utility.shape), np.empty(utility.shape)
    step = max(1, BLOCK // (samples * utility.shape[1]))
    for low in range(0, len(utility), step):
        rows = slice(low, low + step)
        drawn = _race(utility[rows], examination[rows], rng, samples)
        # The slate's total is known, whatever is drawn: dividing by the sampled one takes out common noise.
        mean, spread = drawn.mean(axis=0, dtype=np.float64), drawn.std(axis=0) / np.sqrt(samples)
        scale = examination[rows].sum(axis=1, keepdims=True) / np.maximum(mean.sum(axis=1, keepdims=True), 1e-12)
        exposure[rows], error[rows] = mean * scale, spread * scale
    return Sampled(exposure, error)


def _race(utility: np.ndarray, examination: np.ndarray, rng: np.random.Generator, samples: int) -> np.ndarray:
    """float32 [S, R, n]: each item's exposure given the others' arrivals.

    Rates and times are logarithms: however far the best item is ahead, the others still race for the places after it.
    """
    present = np.isfinite(utility) & (utility > LOWEST / 2)
    highest = np.where(present, utility, -np.inf).max(axis=1, keepdims=True)
    rate = np.where(present, utility - highest, -np.inf).astype(np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        arrival = np.log(rng.standard_exponential((samples, *utility.shape), np.float32)) - rate
    depth = examination.shape[1]
    never = np.full((*arrival.shape[:2], max(depth + 1 - utility.shape[1], 0) + 1), np.inf, np.float32)
    times = np.concatenate([np.sort(arrival, axis=2)[:, :, : depth + 1], never], axis=2)
    steps = (examination - np.column_stack([examination[:, 1:], np.zeros(len(examination))])).astype(np.float32)
    exposure = np.zeros_like(arrival)
    for place in np.flatnonzero((steps != 0).any(axis=0)):
        here, after = times[:, :, place, None], times[:, :, place + 1, None]
        # Who is among the first k already has one place less before it: its k-th rival is the next arrival.
        chance = np.where(arrival <= here, after, here)
        with np.errstate(invalid="ignore", over="ignore"):
            np.exp(np.add(chance, rate, out=chance), out=chance)
            np.expm1(np.negative(chance, out=chance), out=chance)
        exposure -= np.multiply(chance, steps[:, place, None], out=chance)
    return np.where(present, np.maximum(exposure, FAINT), np.float32(0))
