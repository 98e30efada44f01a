"""Exposure under the policy that ranked a recorded log, told from its values and propensities alone.

Arrays are [R, n], 0 where there is no candidate; position is that on the page, 1 = its first, 0 = not shown.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from marketplace.plackett_luce import draw, remaining
from marketplace.slate_columns import flat, page_places, to_numpy
from value_model.formula.evaluate import pad
from value_model.tuning.exposure import of_plackett_luce
from value_model.tuning.from_log import MOST_GAP, logged_prices
from value_model.tuning.tiers import TierSlates

SAMPLES = 64
ABSENT = -1e30


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

    The recorded value and shadow price over the temperature are taken as the log-odds u. Propensity
    p_k = e^u_k / (rest_k + U) tells the odds U of candidates that were considered and are not on record. Without any
    (U = 0) the whole slate was drawn; with some, only how the items on record were ordered among themselves is known,
    and exposure is conditional on that they were shown. `tier` [R, n]: requests were drawn tier by tier,
    each as a slate of its own.
    """
    worth = to_numpy(flat(slates, "value")).astype(np.float64) + logged_prices(slates)
    shown = pad(page_places(slates)[0], mask)
    tiers = TierSlates.of(mask, tier)
    odds, position = tiers.split(pad(worth / temperature, mask), absent=ABSENT), tiers.places(shown)
    propensity = tiers.split(pad(np.nan_to_num(to_numpy(flat(slates, "propensity")).astype(np.float64)), mask))
    if not 0 < np.count_nonzero(shown) == np.count_nonzero(position):
        return None
    mask, examination = tiers.mask, tiers.examination(examination)
    odds = np.where(mask, odds - odds.max(axis=1, keepdims=True), ABSENT)
    missing = _missing_odds(odds, position, propensity)
    if missing is None:
        return None
    if (missing <= MOST_GAP * np.exp(odds).sum(axis=1)).all():
        return tiers.joined(of_plackett_luce(odds, examination, rng=rng).probability)
    if (mask & (position == 0)).any():
        return None
    return tiers.joined(_conditional(odds, mask, missing, examination, rng))


def _missing_odds(odds: np.ndarray, position: np.ndarray, propensity: np.ndarray) -> np.ndarray | None:
    """float64 [R]: U of each request, from its propensities; None where they do not agree on one.

    U = 0 is looked for first, and in logarithms: beside a first place of 1, what rounding leaves of U is more than all
    that remains for the last ones.
    """
    order = np.argsort(np.where(position > 0, position, odds.shape[1] + 1), axis=1, kind="stable")
    chosen, p, shown = (np.take_along_axis(column, order, axis=1) for column in (odds, propensity, position > 0))
    if not (p[shown] > 0).all():
        return None
    log_total, log_rest = chosen - np.log(np.where(shown, p, 1.0)), remaining(chosen)
    complete = (~shown | (np.abs(log_total - log_rest) <= MOST_GAP)).all(axis=1)
    total, rest = np.exp(log_total), np.exp(log_rest)
    missing = np.maximum(np.ma.median(np.ma.array(total - rest, mask=~shown), axis=1).filled(0.0), 0.0)
    missing[complete] = 0.0
    gap = np.abs(total / np.maximum(rest + missing[:, None], 1e-300) - 1)
    return missing if (gap[shown & ~complete[:, None]] <= MOST_GAP).all() else None


def _conditional(
    odds: np.ndarray, mask: np.ndarray, missing: np.ndarray, examination: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Orders of the items on record, drawn without the missing ones and reweighted by prod rest / (rest + U)."""
    total, exposure = np.zeros((len(odds), 1)), np.zeros(odds.shape)
    depth = min(odds.shape[1], examination.shape[1])
    # Against the order by value, whose weight is about the largest: products of small shares stay in range.
    largest = _log_weight(np.argsort(-odds, axis=1), odds, mask, missing)
    for _ in range(SAMPLES):
        order = draw(odds, rng)
        weight = np.exp(_log_weight(order, odds, mask, missing) - largest)
        looks = np.zeros(odds.shape)
        np.put_along_axis(looks, order[:, :depth], examination[:, :depth], axis=1)
        exposure += weight * looks
        total += weight
    return np.where(mask, exposure / total, 0.0)


def _log_weight(order: np.ndarray, odds: np.ndarray, mask: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """float64 [R, 1]: the sum over places of log rest / (rest + U)."""
    rest = np.exp(remaining(np.take_along_axis(odds, order, axis=1)))
    present = np.take_along_axis(mask, order, axis=1)
    share = np.where(present, rest / np.maximum(rest + missing[:, None], 1e-300), 1.0)
    log_weight: np.ndarray = np.log(share).sum(axis=1, keepdims=True)
    return log_weight
