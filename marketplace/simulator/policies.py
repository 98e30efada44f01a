"""Ranking policies to compare with: what logged, what is known to be best, and what is known to be wrong.

A policy takes requests [R] and candidates int32 [R, C] (-1 = none) and returns scores [R, C]; the best are shown.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from marketplace.simulator.behaviour import respond
from marketplace.simulator.market import Market
from marketplace.simulator.requests import RequestBatch

Policy = Callable[[RequestBatch, np.ndarray], np.ndarray]


def logging_scores(market: Market) -> Policy:
    """The incumbent's utilities: popularity and the recorded segment's taste, over its temperature."""
    fame = np.log(market.items.popularity)

    def score(requests: RequestBatch, candidates: np.ndarray) -> np.ndarray:
        segment = market.shoppers.observed_segment[requests.user]
        taste = market.shoppers.segment_taste[segment[:, None], market.items.category[candidates]]
        utility = (0.8 * fame[candidates] + 0.6 * taste) / market.config.logging_temperature
        return np.where(candidates >= 0, utility, -np.inf)

    return score


def logging_policy(market: Market, rng: np.random.Generator) -> Policy:
    """The policy that logged: its utilities under Gumbel noise, so Plackett-Luce."""
    score = logging_scores(market)
    return lambda requests, candidates: score(requests, candidates) + rng.gumbel(size=candidates.shape)


def random_policy(rng: np.random.Generator) -> Policy:
    return lambda requests, candidates: rng.random(candidates.shape)


def popularity_policy(market: Market) -> Policy:
    return lambda requests, candidates: market.items.popularity[candidates]


def true_ctr_policy(market: Market) -> Policy:
    """Ranks by the true P(click | examined): the best click-through rate that these candidates allow."""
    return lambda requests, candidates: respond(market, requests, candidates).attraction


def true_gmv_policy(market: Market) -> Policy:
    """Ranks by the true expected order value, SAR per examined impression: the oracle, an upper bound on GMV."""
    return lambda requests, candidates: respond(market, requests, candidates).gmv
