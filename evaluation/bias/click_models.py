"""How far down shoppers look: examination by position, fitted from logs.

Position-based model: P(click | item shown at k) = examination_k * attraction_item. N impressions have `position`
(1-based; others stay out), `click` 0/1 and `pair`, a number 0..P-1 of what attraction belongs to (query and item; user
segment and item). Only ratios are identified: examination is relative to the first position, examination[0] = 1. What
was never shown is NaN: a position without impressions, a pair without impressions, and every position where the first
has no impressions or no clicks to be relative to.

Which to use: `randomised` where lists were shuffled (no model needed); `harvest` where several rankers showed the same
pairs at different positions; `fit_pbm` where pairs repeat; regression-EM (`regression_em`) where they do not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from evaluation import bootstrap
from evaluation.estimate import Estimate

TINY = 1e-12


@dataclass(frozen=True)
class Cells:
    """Impressions and clicks of each (pair, position) that occurred: all that the models need; shards concatenate."""

    pair: np.ndarray
    place: np.ndarray  # 0-based position
    shown: np.ndarray
    clicked: np.ndarray


@dataclass(frozen=True)
class PositionBias:
    """examination [K], relative to the first position; attraction [P], on the scale that this leaves (may exceed 1)."""

    examination: np.ndarray
    attraction: np.ndarray
    log_likelihood: np.ndarray  # by iteration, per impression


def cells(
    position: np.ndarray, click: np.ndarray, pair: np.ndarray, *, depth: int, weight: np.ndarray | None = None
) -> Cells:
    """Sum impressions by (pair, position); `weight` [N] repeats rows, as a bootstrap does."""
    kept = (position >= 1) & (position <= depth)
    if weight is not None:
        kept &= weight > 0
    if not kept.any():
        raise ValueError(f"position: none of {len(position)} impressions lies in 1 .. {depth}.")
    weights = np.ones(kept.sum()) if weight is None else weight[kept].astype(np.float64)
    key, index = np.unique(pair[kept].astype(np.int64) * depth + position[kept] - 1, return_inverse=True)
    shown, clicked = np.bincount(index, weights), np.bincount(index, weights * click[kept])
    return Cells(key // depth, key % depth, shown, clicked)


def fit_pbm(data: Cells, *, depth: int, iterations: int = 2000, tolerance: float = 1e-9) -> PositionBias:
    """Maximum likelihood by EM (Chuklin, Markov & de Rijke 2015, section 4.2).

    Where it was not clicked: P(examined) = e (1 - a) / (1 - e a), P(attracted) = a (1 - e) / (1 - e a). Stops when an
    iteration gains less than `tolerance` log likelihood per impression.
    """
    pairs = int(data.pair.max()) + 1
    examination, attraction = np.full(depth, 0.5), np.full(pairs, 0.5)
    looks, views = (_total(i, data.shown, n) for i, n in ((data.place, depth), (data.pair, pairs)))
    history: list[float] = []
    for _ in range(iterations):
        e, a = examination[data.place], attraction[data.pair]
        history.append(_likelihood(data, e * a))
        if len(history) > 1 and history[-1] - history[-2] < tolerance:
            break
        missed = (data.shown - data.clicked) / np.maximum(1 - e * a, TINY)
        examination = _total(data.place, data.clicked + missed * e * (1 - a), depth) / np.maximum(looks, TINY)
        attraction = _total(data.pair, data.clicked + missed * a * (1 - e), pairs) / np.maximum(views, TINY)
    attraction[views == 0] = np.nan
    return PositionBias(relative(examination, looks), attraction * examination[0], np.array(history))


def relative(examination: np.ndarray, impressions: np.ndarray) -> np.ndarray:
    """[K]: examination / examination of the first position; NaN without impressions, or without examination there."""
    shown = np.where(impressions > 0, examination, np.nan)
    return shown / shown[0] if shown[0] > 0 else np.full(len(shown), np.nan)


def _likelihood(data: Cells, chance: np.ndarray) -> float:
    lost = (data.shown - data.clicked) * np.log(np.maximum(1 - chance, TINY))
    return float((data.clicked * np.log(np.maximum(chance, TINY)) + lost).sum() / data.shown.sum())


def _total(index: np.ndarray, values: np.ndarray, size: int) -> np.ndarray:
    return np.bincount(index, values, minlength=size)


def harvest(data: Cells, *, depth: int) -> np.ndarray:
    """[K]: examination from pairs that several rankers showed at different positions (Agarwal et al. 2019, AllPairs).

    For positions k, m the pairs shown at both, each with the weight n_k n_m / (n_k + n_m) of its impressions n there,
    have total weight s and click rates at k that sum to c_k: the same mix of items at either position. With r_km their
    mean attraction, maximise sum_{k != m} c_k log(p_k r_km) + (s - c_k) log(1 - p_k r_km). (The paper weighs all pairs
    alike; rarely shown ones then carry the noise.) NaN also where no chain of shared pairs links a position to the
    first.
    """
    shared, rate = _swaps(data, depth)
    k, m = np.nonzero(shared)
    both = shared[k, m]
    link = np.minimum(k, m) * depth + np.maximum(k, m)
    _, link = np.unique(link, return_inverse=True)
    links = int(link.max()) + 1 if len(link) else 0

    def loss(x: np.ndarray) -> tuple[float, np.ndarray]:
        p, r = expit(x[:depth])[k], expit(x[depth:])[link]
        chance = p * r
        clicks = rate[k, m]
        slope = (clicks - both * chance) / np.maximum(1 - chance, TINY)  # d/d log(p r)
        value = (clicks * np.log(chance + TINY) + (both - clicks) * np.log(np.maximum(1 - chance, TINY))).sum()
        gradient = np.concatenate([_total(k, slope * (1 - p), depth), _total(link, slope * (1 - r), links)])
        return -value / both.sum(), -gradient / both.sum()

    looks = _total(data.place, data.shown, depth)
    if not links:
        return np.where((np.arange(depth) == 0) & (looks > 0), 1.0, np.nan)
    fitted = minimize(
        loss, np.zeros(depth + links), jac=True, method="L-BFGS-B", options={"maxiter": 5000, "ftol": 1e-13}
    )
    return np.where(_linked(shared), relative(expit(fitted.x[:depth]), looks), np.nan)


def _swaps(data: Cells, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """[K, K]: the weight of the pairs shown at both k and m, and their weighted click rates at k."""
    pair, row = np.unique(data.pair, return_inverse=True)
    shown, rate = np.zeros((len(pair), depth)), np.zeros((len(pair), depth))
    shown[row, data.place], rate[row, data.place] = data.shown, data.clicked / data.shown
    shared, clicks = np.zeros((depth, depth)), np.zeros((depth, depth))
    for k in range(depth):
        weight = shown[:, k, None] * shown / np.maximum(shown[:, k, None] + shown, TINY)
        weight[:, k] = 0.0
        shared[k], clicks[k] = weight.sum(axis=0), rate[:, k] @ weight
    return shared, clicks


def _linked(shared: np.ndarray) -> np.ndarray:
    """[K]: whether a position reaches the first through shared pairs."""
    reached = np.arange(len(shared)) == 0
    for _ in range(len(shared)):
        reached |= (shared[reached] > 0).any(axis=0)
    return reached


def randomised(
    position: np.ndarray,
    click: np.ndarray,
    offsets: np.ndarray,
    *,
    depth: int,
    rng: np.random.Generator,
    propensity: np.ndarray | None = None,
    replicates: int = 200,
) -> list[Estimate]:
    """[K] examination from randomised lists: click rate by position over that of the first, no model of attraction.

    `propensity` [N] = P(this item at this position) where the shuffle is not uniform: clicks and impressions count by
    its inverse, so that every position shows the same mix of items.
    """
    request = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    kept = (position >= 1) & (position <= depth)
    weight = np.ones(kept.sum()) if propensity is None else 1 / propensity[kept]
    cell, size = request[kept] * depth + position[kept] - 1, (len(offsets) - 1) * depth
    sums = [np.bincount(cell, values, minlength=size).reshape(-1, depth) for values in (weight, weight * click[kept])]
    table = np.column_stack(sums)
    samples = bootstrap.resample(len(table), rng, replicates=replicates)
    with np.errstate(invalid="ignore", divide="ignore"):
        rates = [t[:, depth:] / t[:, :depth] for t in (table.sum(axis=0)[None], bootstrap.totals(table, samples))]
        value, draws = (rate / np.where(rate[:, :1] > 0, rate[:, :1], np.nan) for rate in rates)
    return [bootstrap.Resampled(value[0, at], draws[:, at], len(table)).estimate() for at in range(depth)]


def with_intervals(
    fit: Callable[[Cells], np.ndarray],
    position: np.ndarray,
    click: np.ndarray,
    pair: np.ndarray,
    offsets: np.ndarray,
    *,
    depth: int,
    rng: np.random.Generator,
    replicates: int = 50,
) -> list[Estimate]:
    """[K] examination by `fit` (cells -> [K]) with intervals from refitting on bootstrap samples of the requests."""
    request = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    samples = bootstrap.resample(len(offsets) - 1, rng, replicates=replicates)
    value = fit(cells(position, click, pair, depth=depth))
    draws = np.array([fit(cells(position, click, pair, depth=depth, weight=row[request])) for row in samples.counts])
    return [bootstrap.Resampled(value[at], draws[:, at], len(offsets) - 1).estimate() for at in range(depth)]
