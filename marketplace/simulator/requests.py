"""Requests: visits of shoppers, each for one category, on the four surfaces.

Requests do not depend on what earlier slates showed: so every policy is asked the same questions, and its true value
needs no re-run of the market.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from marketplace.schema import SURFACES
from marketplace.simulator.demand import hourly_intensity
from marketplace.simulator.market import Market, on_sale, visit_intent

HOME, SEARCH, STORE, PRODUCT = range(len(SURFACES))
FIRST_SURFACE = (0.46, 0.37, 0.06, 0.11)
NEXT_SURFACE = (0.14, 0.31, 0.15, 0.40)
CONTINUE = 0.55  # P(another request in the visit)
LONGEST = 8
GAP_SECONDS = 50.0  # mean time between requests of a visit
REDRAWS = 12


@dataclass(frozen=True)
class RequestBatch:
    """R requests, as arrays; -1 = does not apply. `intent` is hidden: nobody logs it."""

    day: np.ndarray  # float64 [R]: after the log's start
    surface: np.ndarray  # int8 [R]: into schema.SURFACES
    user: np.ndarray  # int32 [R]
    session: np.ndarray  # int64 [R]
    intent: np.ndarray  # int8 [R]: category the visit is for
    query_category: np.ndarray  # int8 [R]: category named by the query
    query_brand: np.ndarray  # int8 [R]: brand named by the query
    page_merchant: np.ndarray  # int32 [R]
    page_item: np.ndarray  # int32 [R]

    def __len__(self) -> int:
        return len(self.day)

    def take(self, rows: np.ndarray | slice) -> RequestBatch:
        return RequestBatch(*(getattr(self, column.name)[rows] for column in fields(self)))


def draw_requests(
    market: Market, rng: np.random.Generator, *, count: int, window: tuple[float, float] | None = None
) -> RequestBatch:
    """`count` requests in order of time, whole visits, in `window` (days after the log's start; None = the log).

    Raises ValueError for a window that is empty or begins before the log.
    """
    window = window or (0.0, float(market.config.days))
    if not 0 <= window[0] < window[1]:
        raise ValueError(f"window is {window}: give (first, last) in days after the log's start, 0 <= first < last.")
    lengths = np.minimum(rng.geometric(1 - CONTINUE, count), LONGEST)
    visits = int(np.searchsorted(np.cumsum(lengths), count)) + 1
    user, start = _visitors(market, rng, count=visits, window=window)
    intent = choose(visit_intent(market, user, start), rng)
    session = np.repeat(np.arange(visits), lengths[:visits])[:count]
    first = np.r_[True, session[1:] != session[:-1]]
    day = start[session] + _within_visit(first, session, rng)
    batch = _fill_pages(market, rng, day=day, user=user[session], session=session, intent=intent[session], first=first)
    return batch.take(np.argsort(batch.day, kind="stable"))


def choose(share: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One column (int8 [n]) a row of shares [n, K] that sum to 1."""
    point = rng.random(len(share))
    return np.minimum((share.cumsum(axis=1) < point[:, None]).sum(axis=1), share.shape[1] - 1).astype(np.int8)


def _visitors(
    market: Market, rng: np.random.Generator, *, count: int, window: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Shoppers by activity and a start for each by their country's demand; who has not joined yet gives way."""
    shoppers = market.shoppers
    people = np.arange(len(shoppers.activity))
    user = rng.choice(people, size=count, p=shoppers.activity)
    start = _start_day(market, shoppers.country[user], rng, window=window)
    old = np.isinf(shoppers.joined)
    early = shoppers.joined[user] > start
    share = shoppers.activity[old] / shoppers.activity[old].sum()
    user[early] = rng.choice(people[old], size=int(early.sum()), p=share)
    return user.astype(np.int32), start


def _start_day(
    market: Market, country: np.ndarray, rng: np.random.Generator, *, window: tuple[float, float]
) -> np.ndarray:
    """Inverse transform of the hourly demand inside the window."""
    intensity = hourly_intensity(market.config.start, days=int(np.ceil(window[1])))
    hours = np.arange(intensity.shape[1] + 1) / 24
    cumulative = np.concatenate([np.zeros((len(intensity), 1)), intensity.cumsum(axis=1)], axis=1)
    day = np.empty(len(country))
    for code, curve in enumerate(cumulative):
        rows = np.flatnonzero(country == code)
        low, high = np.interp(window, hours, curve)
        day[rows] = np.interp(rng.uniform(low, high, len(rows)), curve, hours)
    return day


def _within_visit(first: np.ndarray, session: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Days since the visit's start."""
    gap = np.where(first, 0.0, rng.exponential(GAP_SECONDS, len(first)) + 5) / 86_400
    total = np.cumsum(gap)
    return total - total[first][session]


def _fill_pages(
    market: Market,
    rng: np.random.Generator,
    *,
    day: np.ndarray,
    user: np.ndarray,
    session: np.ndarray,
    intent: np.ndarray,
    first: np.ndarray,
) -> RequestBatch:
    """Surface, query and page of each request: searches and pages follow the visit's intent for the most part."""
    count = len(day)
    surface = choose(np.where(first[:, None], FIRST_SURFACE, NEXT_SURFACE), rng)
    focus = np.where(rng.random(count) < 0.85, intent, choose(visit_intent(market, user, day), rng)).astype(np.int8)
    item = draw_on_sale(market, focus, day, rng)
    named = (surface == SEARCH) & (rng.random(count) < 0.35)
    loyal = market.shoppers.loyal[user, rng.integers(market.shoppers.loyal.shape[1], size=count)]
    merchant = np.where(rng.random(count) < 0.5, loyal, market.items.merchant[item])
    return RequestBatch(
        day=day,
        surface=surface,
        user=user,
        session=session,
        intent=intent,
        query_category=np.where(surface == SEARCH, focus, -1).astype(np.int8),
        query_brand=np.where(named, market.items.brand[item], -1).astype(np.int8),
        page_merchant=np.where(surface == STORE, merchant, -1).astype(np.int32),
        page_item=np.where(surface == PRODUCT, item, -1).astype(np.int32),
    )


def draw_on_sale(market: Market, category: np.ndarray, day: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A popular item of each category that is on sale that day; the category's evergreen item if none is met."""
    item = market.pools.category.draw(category, rng)
    for _ in range(REDRAWS):
        missing = np.flatnonzero(~on_sale(market, item, day))
        if not len(missing):
            return item
        item[missing] = market.pools.category.draw(category[missing], rng)
    return np.where(on_sale(market, item, day), item, category).astype(np.int32)
