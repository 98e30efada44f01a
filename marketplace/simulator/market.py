"""The hidden market as a whole: who there is, what is on sale, and what changes with time.

Days are counted from the log's start; `day` arguments are float64 of any shape.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from marketplace.simulator import demand, words
from marketplace.simulator.catalogue import Items, Merchants, draw_items, draw_merchants
from marketplace.simulator.config import SimulatorConfig
from marketplace.simulator.moves import SPELL_DAYS, Moves, draw_moves
from marketplace.simulator.pools import Pools, build_pools
from marketplace.simulator.shoppers import Shoppers, draw_shoppers

CATEGORY_COUNT = len(words.CATEGORIES)


@dataclass(frozen=True)
class Market:
    """Everything that requests, behaviour and the truth are computed from."""

    config: SimulatorConfig
    shoppers: Shoppers
    merchants: Merchants
    items: Items
    moves: Moves
    pools: Pools


def draw_market(config: SimulatorConfig, rng: np.random.Generator) -> Market:
    for_merchants, for_items, for_shoppers, for_moves = rng.spawn(4)
    merchants = draw_merchants(config, for_merchants)
    items = draw_items(config, merchants, for_items)
    regulars = np.flatnonzero(np.isinf(merchants.joined)).astype(np.int32)
    weight = np.where(items.in_stock, items.popularity, 0.0)
    pools = build_pools(items.category, items.merchant, weight, categories=CATEGORY_COUNT, merchants=config.merchants)
    moves = draw_moves(config, for_moves, always=CATEGORY_COUNT)
    return Market(config, draw_shoppers(config, regulars, for_shoppers), merchants, items, moves, pools)


def on_sale(market: Market, items: np.ndarray, day: np.ndarray) -> np.ndarray:
    """Whether each item (int32; -1 = none) is launched and in stock on `day` (broadcast against items)."""
    out_from = market.moves.out_from[items]
    in_stock = market.items.in_stock[items] & ((day < out_from) | (day >= out_from + SPELL_DAYS))
    return (items >= 0) & in_stock & (market.items.available[items] <= day)


def price_on(market: Market, items: np.ndarray, day: np.ndarray) -> np.ndarray:
    """Price in SAR of each item on `day`."""
    everywhere = np.where(day >= market.config.drift_day, 1 + market.config.price_change, 1.0)
    return np.round(market.items.price[items] * everywhere * np.exp(_price_step(market, items, day)), 2)


def relative_price_on(market: Market, items: np.ndarray, day: np.ndarray) -> np.ndarray:
    """log(price / typical price of the category) of each item on `day`."""
    everywhere = np.where(day >= market.config.drift_day, np.log1p(market.config.price_change), 0.0)
    return market.items.relative_price[items] + everywhere + _price_step(market, items, day)


def _price_step(market: Market, items: np.ndarray, day: np.ndarray) -> np.ndarray:
    return np.where(day >= market.moves.repriced[items], market.moves.price_step[items], 0.0)


def taste_on(market: Market, users: np.ndarray, day: np.ndarray) -> np.ndarray:
    """Category tastes float32 [n, K] of `users` [n] on `day` [n], log-odds."""
    drifted = day >= market.config.drift_day
    if market.config.preference_drift == 0 or not drifted.any():
        return market.shoppers.taste[users]
    return np.where(drifted[:, None], market.shoppers.taste_after[users], market.shoppers.taste[users])


def is_newcomer(market: Market, merchants: np.ndarray, day: np.ndarray) -> np.ndarray:
    """Whether each merchant joined in the newcomer_days before `day`."""
    age = day - market.merchants.joined[merchants]
    return (age >= 0) & (age < market.config.newcomer_days)


def visit_intent(market: Market, users: np.ndarray, day: np.ndarray) -> np.ndarray:
    """P(category is what the visit is for), float64 [n, K]: taste, season and the demand shift."""
    logit = 1.2 * taste_on(market, users, day) + demand.category_season(market.config.start, np.floor(day))
    if market.config.demand_shift:
        direction = np.where(np.arange(CATEGORY_COUNT) % 2, 0.5, -0.5)
        logit = logit + np.where(day >= market.config.drift_day, market.config.demand_shift, 0.0)[:, None] * direction
    odds = np.exp(logit - logit.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)
