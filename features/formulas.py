"""Every derived number, from the counts that were known: one set of formulas for training and for serving.

`features.backfill` fills a `FeatureState` for many requests at once from a data set, `features.store` for one request
from its online counters; both read the numbers here, so that the two cannot differ.

Conventions: R requests, N rows; counts are float64; times int64 UTC microseconds, NEVER = has not happened; NaN = not
known. Days are 86,400 s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from features.asof import NEVER
from marketplace.splits import DAY_US

SMOOTHING = 20.0  # impressions' worth of the market's rate that a new item starts with


@dataclass(frozen=True, eq=False, kw_only=True)
class FeatureState:
    """What was known at the time of R requests about them and their N rows; arrays as named, float64 unless said."""

    offsets: np.ndarray  # int64 [R + 1]
    request: np.ndarray  # int64 [N]
    # [R]: the request, its user, and the market as a whole
    time: np.ndarray  # int64
    user_clicks: np.ndarray
    user_carts: np.ndarray
    user_orders: np.ndarray
    user_last: np.ndarray  # int64, time of the last touch
    last_item: np.ndarray  # int32 catalogue row of the last touched item, -1 = none
    last_price: np.ndarray  # its price in the catalogue
    last_category: np.ndarray  # int32 code, -1 = none
    last_merchant: np.ndarray  # int32 code, -1 = none
    all_impressions: np.ndarray
    all_clicks: np.ndarray  # that answer a slate
    all_orders: np.ndarray  # that answer a slate
    # [N]: the item
    item: np.ndarray  # int32 catalogue row, -1 = not in the catalogue
    category: np.ndarray  # int32 code, -1 = unknown
    merchant: np.ndarray  # int32 code, -1 = unknown
    price: np.ndarray  # as shown
    category_price: np.ndarray
    launched: np.ndarray  # int64
    rates: Mapping[str, np.ndarray]
    impressions: np.ndarray
    clicks: np.ndarray  # that answer a slate
    orders: np.ndarray  # that answer a slate
    popularity: np.ndarray  # decayed sum of weighted touches
    # [N]: the user and the item
    pair_clicks: np.ndarray
    pair_carts: np.ndarray
    pair_orders: np.ndarray
    pair_last: np.ndarray  # int64
    category_touches: np.ndarray
    merchant_touches: np.ndarray

    @cached_property
    def ctr(self) -> np.ndarray:
        return self._rate(self.clicks, self.all_clicks)

    @cached_property
    def order_rate(self) -> np.ndarray:
        return self._rate(self.orders, self.all_orders)

    def _rate(self, events: np.ndarray, everywhere: np.ndarray) -> np.ndarray:
        """(events + s x market rate) / (impressions + s)."""
        market = everywhere / np.maximum(self.all_impressions, 1.0)
        return (events + SMOOTHING * market[self.request]) / (self.impressions + SMOOTHING)

    def since(self, past: np.ndarray, *, rows: bool) -> np.ndarray:
        """Days from `past` to the request; NaN where it never happened."""
        now = self.time[self.request] if rows else self.time
        return np.where(past == NEVER, np.nan, (now - np.where(past == NEVER, now, past)) / DAY_US)

    def rank(self, values: np.ndarray) -> np.ndarray:
        """Share of the request's rows that are smaller, in [0, 1); ties share the lowest."""
        return rank_in_list(values, self.offsets)

    def against_mean(self, values: np.ndarray) -> np.ndarray:
        """log(value / mean over the request's rows)."""
        total = np.bincount(self.request, values, minlength=len(self.time))
        mean = total / np.maximum(np.diff(self.offsets), 1)
        return log_ratio(values, mean[self.request])


def rank_in_list(values: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """float64 [N]: number of smaller values in the same request, over its number of rows; NaN stays NaN."""
    length = np.diff(offsets)
    request = np.repeat(np.arange(len(length)), length)
    order = np.lexsort((values, request))
    ordered = values[order]
    new = np.ones(len(values), bool)
    new[1:] = (ordered[1:] != ordered[:-1]) | (request[1:] != request[:-1])
    first = np.maximum.accumulate(np.where(new, np.arange(len(values)), 0))
    rank = np.empty(len(values))
    rank[order] = (first - offsets[request]) / np.maximum(length, 1)[request]
    return np.where(np.isnan(values), np.nan, rank)


def log_ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """log(above / below); NaN where either is missing or not positive."""
    valid = (above > 0) & (below > 0)
    ratio = np.where(valid, above, 1.0) / np.where(valid, below, 1.0)
    return np.where(valid, np.log(ratio), np.nan)


def _cycle(time: np.ndarray, period: int) -> np.ndarray:
    return 2 * np.pi * (time % period) / period


Formula = Callable[[FeatureState], np.ndarray]

USER: dict[str, Formula] = {
    "hour_sin": lambda s: np.sin(_cycle(s.time, DAY_US)),
    "hour_cos": lambda s: np.cos(_cycle(s.time, DAY_US)),
    "weekday_sin": lambda s: np.sin(_cycle(s.time // DAY_US, 7)),
    "weekday_cos": lambda s: np.cos(_cycle(s.time // DAY_US, 7)),
    "user_clicks": lambda s: s.user_clicks,
    "user_carts": lambda s: s.user_carts,
    "user_orders": lambda s: s.user_orders,
    "user_days_since": lambda s: s.since(s.user_last, rows=False),
    "user_last_price": lambda s: s.last_price,
}

ITEM: dict[str, Formula] = {
    "price": lambda s: s.price,
    "price_to_category": lambda s: log_ratio(s.price, s.category_price),
    "commission_rate": lambda s: s.rates["commission_rate"],
    "quality": lambda s: s.rates["quality"],
    "return_rate": lambda s: s.rates["return_rate"],
    "refusal_rate": lambda s: s.rates["refusal_rate"],
}

CROSS: dict[str, Formula] = {
    "popularity": lambda s: s.popularity,
    "impressions": lambda s: s.impressions,
    "ctr_smoothed": lambda s: s.ctr,
    "order_rate_smoothed": lambda s: s.order_rate,
    "age_days": lambda s: s.since(s.launched, rows=True),
    "pair_clicks": lambda s: s.pair_clicks,
    "pair_carts": lambda s: s.pair_carts,
    "pair_orders": lambda s: s.pair_orders,
    "pair_days_since": lambda s: s.since(s.pair_last, rows=True),
    "is_last_touched": lambda s: (s.item == s.last_item[s.request]) & (s.item >= 0),
    "same_category_as_last": lambda s: (s.category == s.last_category[s.request]) & (s.category >= 0),
    "same_merchant_as_last": lambda s: (s.merchant == s.last_merchant[s.request]) & (s.merchant >= 0),
    "price_to_last": lambda s: log_ratio(s.price, s.last_price[s.request]),
    "category_touches": lambda s: s.category_touches,
    "merchant_touches": lambda s: s.merchant_touches,
    "price_rank": lambda s: s.rank(s.price),
    "price_to_list": lambda s: s.against_mean(s.price),
    "popularity_rank": lambda s: s.rank(s.popularity),
}
