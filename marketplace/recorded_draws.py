"""How a recorded log was drawn, told from its values and propensities alone.

A page is drawn place by place, item i with odds exp(u_i); u is the recorded value and the shadow price beside it, over
a temperature. Propensity p_k = P(item at place k | items above it) = exp(u_k) / (rest_k + U): rest_k the odds of what
is on record and not above place k, U those of all that was considered and is not on record.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from marketplace.plackett_luce import remaining
from marketplace.schema import SHADOW_PRICE
from marketplace.slate_columns import (
    flat,
    item_offsets,
    numeric_features,
    pad,
    page_places,
    request_of_rows,
    shown,
    slate_mask,
    to_numpy,
)

MOST_GAP = 1e-3  # relative, between logged and recomputed propensities
ABSENT = -1e30  # the log-odds of no candidate


def with_propensities(slates: pa.Table) -> np.ndarray:
    """bool [R]: requests of which every item shown has its propensity, and one of them was not certain."""
    unknown, uncertain = _unknown_and_uncertain(slates)
    return uncertain & ~unknown


def drawn_at_random(slates: pa.Table) -> np.ndarray:
    """The same, and beside such those that were certain, where this follows from their values as all else does.

    It does where one value is far above the others; not where a ranker that draws nothing calls its answers certain.
    """
    unknown, uncertain = _unknown_and_uncertain(slates)
    drawn = uncertain & ~unknown
    return ~unknown if drawn.any() and follow_from_values(slates.filter(pa.array(~unknown))) else drawn


def _unknown_and_uncertain(slates: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """bool [R] each: some item shown has no propensity, or stands there as no draw can have left it; one below 1."""
    propensity, on_page, request = recorded_propensity(slates), shown(slates), request_of_rows(slates)
    unknown, uncertain = (np.zeros(len(slates), bool) for _ in range(2))
    unknown[request[on_page & (propensity == 0)]] = True
    position, item = to_numpy(flat(slates, "position")), flat(slates, "item_id").dictionary_encode().indices.to_numpy()
    for names, among in ((position, on_page), (item, np.ones(len(item), bool))):  # one item a place, one place an item
        unknown[_twice(request[among], names[among])] = True
    uncertain[request[on_page & (propensity < 1)]] = True
    return unknown, uncertain


def _twice(request: np.ndarray, names: np.ndarray) -> np.ndarray:
    """Requests with a name that stands twice in them."""
    named = request * (names.max(initial=0) + 1) + names
    values, counts = np.unique(named, return_counts=True)
    return values[counts > 1] // (names.max(initial=0) + 1)


def log_odds(slates: pa.Table) -> np.ndarray:
    """float64 [N]: the recorded values and shadow prices; where no value at all is on record, all items are alike."""
    value = to_numpy(flat(slates, "value")).astype(np.float64)
    return (np.zeros(len(value)) if np.isnan(value).all() else value) + shadow_prices(slates)


def recorded_propensity(slates: pa.Table) -> np.ndarray:
    """float64 [N]: P(item here | items above it); 0 where none is on record."""
    return np.nan_to_num(to_numpy(flat(slates, "propensity")).astype(np.float64))


def shadow_prices(slates: pa.Table) -> np.ndarray:
    """float64 [N]: the shadow prices that took part in the choice; 0 where none were logged."""
    logged, prices = numeric_features(slates, SHADOW_PRICE), np.zeros(item_offsets(slates)[-1])
    prices[np.repeat(logged.lengths > 0, np.diff(item_offsets(slates)))] = to_numpy(logged.values)
    return prices


def follow_from_values(slates: pa.Table) -> bool:
    """Whether propensities, of requests that have them, are those of pages drawn by the values on record."""
    mask = slate_mask(item_offsets(slates))
    odds, position = pad(log_odds(slates), mask, absent=ABSENT), pad(page_places(slates)[0], mask)
    return missing_odds(relative(odds), position, pad(recorded_propensity(slates), mask)) is not None


def relative(odds: np.ndarray) -> np.ndarray:
    """[R, n]: log-odds less the greatest of their request; ABSENT stays what it is, but for rounding."""
    return odds - odds.max(axis=1, keepdims=True)


def missing_odds(odds: np.ndarray, position: np.ndarray, propensity: np.ndarray) -> np.ndarray | None:
    """float64 [R]: U of each request; None where its propensities do not agree on one. Arrays are [R, n].

    `position` counts from 1, 0 = not shown; `odds` are u less the request's greatest, ABSENT where there is no
    candidate. U = 0 is looked for first, and in logarithms: beside a first place of 1, what rounding
    leaves of U is more than all that remains for the last ones.
    """
    order = np.argsort(np.where(position > 0, position, odds.shape[1] + 1), axis=1, kind="stable")
    chosen, p, on_page = (np.take_along_axis(column, order, axis=1) for column in (odds, propensity, position > 0))
    if np.isnan(odds).any() or not (p[on_page] > 0).all():
        return None
    log_total, log_rest = chosen - np.log(np.where(on_page, p, 1.0)), remaining(chosen)
    complete = (~on_page | (np.abs(log_total - log_rest) <= MOST_GAP)).all(axis=1)
    total, rest = np.exp(log_total), np.exp(log_rest)
    missing = np.maximum(np.ma.median(np.ma.array(total - rest, mask=~on_page), axis=1).filled(0.0), 0.0)
    missing[complete] = 0.0
    gap = np.abs(total / np.maximum(rest + missing[:, None], 1e-300) - 1)
    return missing if (gap[on_page & ~complete[:, None]] <= MOST_GAP).all() else None
