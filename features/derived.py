"""Derived features that need no statistic: of the request, of the catalogue's item, and of an item against its list.

A derived feature is one row: its definition and its formula (`features.state`). What changes with time (age) is in the
cross group although it depends on the item alone: the item group is encoded once an item and cached, and a cached
number would go stale without anybody noticing.
"""

from __future__ import annotations

import numpy as np

from features.spec import Group, categories, category, count, number
from features.state import Definition, FeatureState, Part, days, log_ratio
from marketplace.splits import DAY_US

TOKENS = 12  # words of a name
QUERY_TOKENS = 8
LEAST_PRICE = 0.01  # currency: a price of nothing has no logarithm


def _cycle(time: np.ndarray, period: int) -> np.ndarray:
    return 2 * np.pi * (time % period) / period


REQUEST = (
    Definition(category(Group.USER, "user_id", "the shopper or household")),
    Definition(category(Group.USER, "user_country", "country in the user table", vocabulary="country")),
    Definition(category(Group.USER, "user_segment", "the data's own grouping of users")),
    Definition(category(Group.USER, "surface", "where the slate is shown")),
    Definition(category(Group.USER, "page_merchant", "merchant whose store page it is", vocabulary="merchant")),
    Definition(category(Group.USER, "page_item", "item whose product page it is", vocabulary="item")),
    Definition(
        category(Group.USER, "page_category", "category of that item", vocabulary="category"), part=Part.PRODUCT_PAGES
    ),
    Definition(
        categories(Group.USER, "query_tokens", "words of the search text", vocabulary="token", length=QUERY_TOKENS),
        part=Part.TEXT,
    ),
    Definition(number(Group.USER, "hour_sin", "time of day (UTC), sine"), lambda s: np.sin(_cycle(s.time, DAY_US))),
    Definition(number(Group.USER, "hour_cos", "time of day (UTC), cosine"), lambda s: np.cos(_cycle(s.time, DAY_US))),
    Definition(
        number(Group.USER, "weekday_sin", "day of the week (UTC), sine"),
        lambda s: np.sin(_cycle(s.time // DAY_US, 7)),
    ),
    Definition(
        number(Group.USER, "weekday_cos", "day of the week (UTC), cosine"),
        lambda s: np.cos(_cycle(s.time // DAY_US, 7)),
    ),
    Definition(
        number(Group.USER, "user_order_share", "orders over clicks, carts and orders so far; 0 without any"),
        lambda s: s["user_orders"] / np.maximum(s["user_clicks"] + s["user_carts"] + s["user_orders"], 1),
        Part.EXTRA,
    ),
)

ITEM = (
    Definition(category(Group.ITEM, "item_id", "the item", vocabulary="item")),
    Definition(category(Group.ITEM, "category", "leaf category", vocabulary="category")),
    Definition(category(Group.ITEM, "merchant_id", "who sells it", vocabulary="merchant")),
    Definition(
        categories(Group.ITEM, "name_tokens", "words of its name", vocabulary="token", length=TOKENS), part=Part.TEXT
    ),
    Definition(count(Group.ITEM, "price", "price as shown, currency"), lambda s: s.price),
    Definition(
        number(Group.ITEM, "price_to_category", "log of price over its category's mean price"),
        lambda s: log_ratio(s.price, s.category_price),
    ),
    Definition(
        number(Group.ITEM, "commission_rate", "merchant's commission, share of an order's value"),
        lambda s: s.rates["commission_rate"],
    ),
    Definition(number(Group.ITEM, "quality", "merchant's service quality, [0, 1]"), lambda s: s.rates["quality"]),
    Definition(
        number(Group.ITEM, "return_rate", "merchant's share of orders returned"), lambda s: s.rates["return_rate"]
    ),
    Definition(
        number(Group.ITEM, "refusal_rate", "merchant's share of cash-on-delivery orders refused"),
        lambda s: s.rates["refusal_rate"],
    ),
    Definition(count(Group.CROSS, "age_days", "days since launch"), lambda s: days(s.launched, s.row_time)),
)


def _log_price(state: FeatureState) -> np.ndarray:
    return np.log(np.maximum(state.price, LEAST_PRICE))


def _price_spread(state: FeatureState) -> np.ndarray:
    """float64 [R]: standard deviation of log price in the list."""
    log_price = _log_price(state)
    return np.sqrt(state.mean((log_price - state.mean(log_price)[state.request]) ** 2))


def _least(state: FeatureState, values: np.ndarray) -> np.ndarray:
    """float64 [R]: the least of the request's rows; infinite without rows."""
    least = np.full(len(state.time), np.inf)
    np.minimum.at(least, state.request, values)
    return least


LIST = (
    Definition(
        number(Group.CROSS, "price_rank", "share of the list that is cheaper"),
        lambda s: s.rank(s.price),
        Part.AGAINST_LIST,
    ),
    Definition(
        number(Group.CROSS, "price_to_list", "log of price over the list's mean"),
        lambda s: log_ratio(s.price, s.mean(s.price)[s.request]),
        Part.AGAINST_LIST,
    ),
    Definition(
        number(Group.CROSS, "popularity_rank", "share of the list that is less popular"),
        lambda s: s.rank(s["popularity"]),
        Part.AGAINST_LIST,
    ),
    Definition(
        number(Group.USER, "list_length", "items in the list"),
        lambda s: np.diff(s.offsets),
        Part.AGAINST_LIST,
    ),
    Definition(
        number(Group.USER, "list_price", "mean log of price in the list"),
        lambda s: s.mean(_log_price(s)),
        Part.AGAINST_LIST,
    ),
    Definition(
        number(Group.USER, "list_spread", "standard deviation of log price in the list"),
        _price_spread,
        Part.AGAINST_LIST,
    ),
    Definition(
        number(Group.CROSS, "price_to_least", "log of price over the list's lowest"),
        lambda s: log_ratio(s.price, _least(s, s.price)[s.request]),
        Part.AGAINST_LIST,
    ),
    Definition(
        number(Group.CROSS, "number_rank", "share of the list whose ids are smaller numbers, in a shop that counts"),
        lambda s: s.rank(s.number),
        Part.EXTRA,
    ),
)
