"""What the old retrieval proposes for each request: weighted draws from the groups that fit its surface.

Arrays are [R, C]: `item` int32 (-1 = no candidate), `source` int8 into SOURCES.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from marketplace.simulator.market import Market, on_sale, visit_intent
from marketplace.simulator.requests import HOME, PRODUCT, SEARCH, STORE, RequestBatch

SOURCES = ("affinity", "popular", "explore", "query", "store", "similar", "same_merchant")
AFFINITY, POPULAR, EXPLORE, QUERY, STORE_ITEMS, SIMILAR, SAME_MERCHANT = range(len(SOURCES))
# Shares of the candidates by source, per surface.
MIX = {
    HOME: ((AFFINITY, 0.5), (POPULAR, 0.3), (EXPLORE, 0.2)),
    SEARCH: ((QUERY, 0.9), (POPULAR, 0.1)),
    STORE: ((STORE_ITEMS, 1.0),),
    PRODUCT: ((SIMILAR, 0.6), (SAME_MERCHANT, 0.2), (AFFINITY, 0.2)),
}


@dataclass(frozen=True)
class Proposals:
    """Distinct candidates of R requests."""

    item: np.ndarray  # int32 [R, C], -1 = none
    source: np.ndarray  # int8 [R, C]


def draw_candidates(market: Market, requests: RequestBatch, rng: np.random.Generator) -> Proposals:
    """Candidates that are on sale, each item once a request, never the page's own item."""
    width = market.config.candidates
    item = np.full((len(requests), width), -1, np.int32)
    source = np.zeros((len(requests), width), np.int8)
    for surface, mix in MIX.items():
        rows = np.flatnonzero(requests.surface == surface)
        kinds = _columns(mix, width)
        source[rows] = kinds
        subset = requests.take(rows)
        for kind, _ in mix:
            block = np.flatnonzero(kinds == kind)
            item[np.ix_(rows, block)] = _draw(market, subset, kind, len(block), rng)
    item[~on_sale(market, item, requests.day[:, None])] = -1
    item[item == requests.page_item[:, None]] = -1
    return Proposals(drop_repeats(item), source)


def _columns(mix: tuple[tuple[int, float], ...], width: int) -> np.ndarray:
    """Source of each candidate column, int8 [C]."""
    bounds = np.round(np.cumsum([share for _, share in mix]) * width).astype(int)
    return np.array([kind for kind, _ in mix], np.int8)[np.searchsorted(bounds, np.arange(width), side="right")]


def _draw(market: Market, requests: RequestBatch, kind: int, count: int, rng: np.random.Generator) -> np.ndarray:
    pools, items, shape = market.pools, market.items, (len(requests), count)
    if kind == AFFINITY:
        return pools.category.draw(_wanted_categories(market, requests, count, rng), rng)
    if kind in (POPULAR, EXPLORE):
        return (pools.everything if kind == POPULAR else pools.uniform).draw(np.zeros(shape, np.int64), rng)
    pool, group = {
        QUERY: (pools.category, requests.query_category),
        STORE_ITEMS: (pools.merchant, requests.page_merchant),
        SIMILAR: (pools.category, items.category[requests.page_item]),
        SAME_MERCHANT: (pools.merchant, items.merchant[requests.page_item]),
    }[kind]
    return pool.draw(np.broadcast_to(group[:, None], shape), rng)


def _wanted_categories(market: Market, requests: RequestBatch, count: int, rng: np.random.Generator) -> np.ndarray:
    """Categories int64 [R, count] drawn by the shopper's own wants."""
    cumulative = visit_intent(market, requests.user, requests.day).cumsum(axis=1)
    cumulative[:, -1] = 1.0
    point = rng.random((len(requests), count)) + np.arange(len(requests))[:, None]
    flat = (cumulative + np.arange(len(requests))[:, None]).ravel()
    return np.searchsorted(flat, point.ravel()).reshape(point.shape) % cumulative.shape[1]


def drop_repeats(item: np.ndarray) -> np.ndarray:
    """`item` with every later occurrence in its row replaced by -1."""
    order = np.argsort(item, axis=1, kind="stable")
    ranked = np.take_along_axis(item, order, axis=1)
    repeat = np.zeros(item.shape, bool)
    np.put_along_axis(repeat, order[:, 1:], ranked[:, 1:] == ranked[:, :-1], axis=1)
    return np.where(repeat, -1, item)
