"""Exposure under the policy that ranked a recorded log, told from its values and propensities alone.

Arrays are [R, n], 0 where there is no candidate; position is that on the page, 1 = its first, 0 = not shown.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from marketplace.recorded_draws import ABSENT, MOST_GAP, log_odds, missing_odds, recorded_propensity, relative
from marketplace.slate_columns import pad, page_places
from value_model.tuning.exposure import BLOCK, FAINT, of_plackett_luce
from value_model.tuning.tiers import TierSlates

SAMPLES, GRID = 64, 256
LEAST_MISSING = 1e-9  # of the odds on record: what is less is nothing


def recorded_exposure(
    slates: pa.Table,
    mask: np.ndarray,
    examination: np.ndarray,
    *,
    rng: np.random.Generator,
    temperature: float = 1.0,
    tier: np.ndarray | None = None,
) -> np.ndarray | None:
    """float64 [R, n] of SLATE rows as they were recorded; None where their propensities are not Plackett-Luce.

    Propensities tell the odds U of candidates that were considered and are not on record
    (`marketplace.recorded_draws`). Without any (U = 0) the whole slate was drawn; with some, only how the items on
    record were ordered among themselves is known, and exposure is conditional on that they were shown.
    `tier` [R, n]: requests were drawn tier by tier, each as a slate of its own.
    """
    shown = pad(page_places(slates)[0], mask)
    tiers = TierSlates.of(mask, tier)
    odds, position = tiers.split(pad(log_odds(slates) / temperature, mask), absent=ABSENT), tiers.places(shown)
    propensity = tiers.split(pad(recorded_propensity(slates), mask))
    if not 0 < np.count_nonzero(shown) == np.count_nonzero(position):
        return None
    mask, examination = tiers.mask, tiers.examination(examination)
    odds = relative(odds)
    missing = missing_odds(odds, position, propensity)
    if missing is None:
        return None
    if (missing <= MOST_GAP * np.exp(odds).sum(axis=1)).all():
        return tiers.joined(of_plackett_luce(odds, examination, rng=rng).probability)
    if (mask & (position == 0)).any():
        return None
    return tiers.joined(_conditional(odds, mask, missing, examination, rng))


def _conditional(
    odds: np.ndarray, mask: np.ndarray, missing: np.ndarray, examination: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Exposure given that all items on record were drawn before the missing ones, whose odds are `missing` [R].

    An exponential race of which one more time matters: t, the missing ones' first. Given t the items' times are
    independent exponentials cut at t; so t is drawn given that all came before it, then their times, and exposure is
    averaged given the others' times as in `exposure.of_plackett_luce`. Orders drawn without the missing ones and
    reweighted have the same mean; but exposure is a divisor, and its noise makes the weights too large.
    """
    exposure = np.zeros(odds.shape)
    step = max(1, BLOCK // (max(SAMPLES, GRID) * odds.shape[1]))
    for low in range(0, len(odds), step):
        rows = slice(low, low + step)
        rate = np.where(mask[rows], np.exp(odds[rows]), 0.0)
        cut = _first_missing(rate, mask[rows], np.maximum(missing[rows], LEAST_MISSING * rate.sum(axis=1)), rng)
        exposure[rows] = _given_cut(rate, mask[rows], cut, examination[rows], rng)
    return exposure


def _first_missing(rate: np.ndarray, mask: np.ndarray, missing: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """float64 [SAMPLES, R]: when the first missing item arrives, all of the others having come before.

    Its density is proportional to exp(-missing t) prod_i (1 - exp(-rate_i t)), by quantiles of a grid in log t.
    """
    least, most = 1e-6 / (rate.sum(axis=1) + missing), 60 / missing
    grid = np.exp(np.log(least) + np.linspace(0, 1, GRID)[:, None] * np.log(most / least))  # [GRID, R]
    came = np.where(mask, -np.expm1(-grid[:, :, None] * rate), 1.0)
    log_density = np.log(np.maximum(came, 1e-300)).sum(axis=2) - missing * grid + np.log(grid)
    density = np.exp(log_density - log_density.max(axis=0))
    share = np.cumsum((density[1:] + density[:-1]) / 2, axis=0)
    share = np.concatenate([np.zeros((1, rate.shape[0])), share / share[-1]])
    quantile = (np.arange(SAMPLES)[:, None] + rng.random((SAMPLES, rate.shape[0]))) / SAMPLES
    log_grid = np.log(grid)
    return np.exp(
        np.stack([np.interp(q, s, g) for q, s, g in zip(quantile.T, share.T, log_grid.T, strict=True)], axis=1)
    )


def _given_cut(
    rate: np.ndarray, mask: np.ndarray, cut: np.ndarray, examination: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """float64 [R, n]: exposure of items whose times are exponentials cut at `cut` [S, R], averaged over these."""
    before = -np.expm1(-cut[:, :, None] * rate)  # P(item in time)
    with np.errstate(divide="ignore", invalid="ignore"):
        time = -np.log1p(-rng.random(before.shape) * before) / rate
    time = np.where(mask, time, np.inf)
    width = max(examination.shape[1] + 1 - rate.shape[1], 0) + 1
    rivals = np.concatenate([np.sort(time, axis=2), np.full((*cut.shape, width), np.inf)], axis=2)
    rivals = np.minimum(rivals, cut[:, :, None])  # whoever is on record stands somewhere before the cut
    steps = examination - np.column_stack([examination[:, 1:], np.zeros(len(examination))])
    exposure = np.zeros(rate.shape)
    for place in np.flatnonzero((steps != 0).any(axis=0)):
        here, after = rivals[:, :, place, None], rivals[:, :, place + 1, None]
        # Who is among the first k already has one place less before it: its k-th rival is the next arrival.
        chance = -np.expm1(-np.where(time <= here, after, here) * rate) / np.where(mask, before, 1.0)
        exposure += chance.mean(axis=0) * steps[:, place, None]
    exposure = np.where(mask, np.maximum(exposure, FAINT), 0.0)
    # The places' total is known, whatever is drawn.
    looks = np.where(np.arange(examination.shape[1]) < mask.sum(axis=1, keepdims=True), examination, 0.0)
    return exposure * looks.sum(axis=1, keepdims=True) / np.maximum(exposure.sum(axis=1, keepdims=True), FAINT)
