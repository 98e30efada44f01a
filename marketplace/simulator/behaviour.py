"""What a shopper does with an item: the exact probabilities behind the log.

Arrays are [R, C] over requests and items (int32 rows of the catalogue; -1 = none, where every answer is 0).
With sigma the logistic function and t the shopper's taste for the item (category and style):

    P(click | examined)  = sigma(surface + .8 t - .45 s p + .6 loyal + .2 quality + appeal + 1.3 bait + fit + ...)
    P(order | click)     = sigma(base    + .45 t - .55 s p + .8 loyal + .55 quality - 1.8 bait + .25 local + ...)
    E[value | order]     = price x (1 + extra units)                                            in SAR
    P(refused | order)   = merchant's refusal rate x P(cash);  P(returned | delivered) by merchant, category, quality

A coupon adds to the log-odds of the order (`coupons`).

p is log(price / typical price of the category), s the shopper's price sensitivity; dear categories are thought over
for longer: -.4 log(typical price / SAR 200) on the order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from marketplace.simulator import words
from marketplace.simulator.coupons import coupon_log_odds
from marketplace.simulator.market import Market, on_sale, price_on, relative_price_on, taste_on
from marketplace.simulator.requests import HOME, PRODUCT, SEARCH, STORE, RequestBatch

CLICK_BASE = np.array([-3.2, -2.8, -2.95, -3.1])  # log-odds by surface
ORDER_BASE = -3.5
BAIT_CLICK, BAIT_ORDER = 1.3, -1.8
MISFIT = -2.5  # log-odds for an item that is not what was searched for, or not of the store
RECENT_DAYS = 14  # an item is new for so long
CHUNK = 1 << 20  # pairs evaluated at once
DEAR_CATEGORY = np.log([row.price / 200 for row in words.CATEGORIES]).astype(np.float32)
EXTRA_UNITS = np.array([row.extra_units for row in words.CATEGORIES], np.float32)
RETURN_FACTOR = np.array([row.returns for row in words.CATEGORIES], np.float32)


@dataclass(frozen=True)
class Response:
    """Probabilities and amounts of every pair, float64 [R, C]; those after the click are conditional."""

    attraction: np.ndarray  # P(click | examined)
    order: np.ndarray  # P(order | click)
    price: np.ndarray  # SAR
    extra_units: np.ndarray  # mean units beyond the first in an order
    refused: np.ndarray  # P(refused at the door | order)
    returned: np.ndarray  # P(returned | order, not refused)

    @property
    def order_value(self) -> np.ndarray:
        """E[order value | order], SAR."""
        return self.price * (1 + self.extra_units)

    @property
    def gmv(self) -> np.ndarray:
        """E[order value | examined], SAR."""
        return self.attraction * self.order * self.order_value

    @property
    def lost(self) -> np.ndarray:
        """P(refused or returned | order)."""
        return self.refused + (1 - self.refused) * self.returned


def respond(market: Market, requests: RequestBatch, items: np.ndarray, *, coupon: np.ndarray | None = None) -> Response:
    """The truth for each request's items [R, C], `coupon` bool [R, C] on some; items not on sale attract nobody."""
    step = max(1, CHUNK // max(items.shape[1], 1))
    parts = [
        _respond(market, requests.take(rows), items[rows], None if coupon is None else coupon[rows])
        for rows in (slice(low, low + step) for low in range(0, max(len(requests), 1), step))
    ]
    return Response(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _respond(
    market: Market, requests: RequestBatch, items: np.ndarray, coupon: np.ndarray | None
) -> tuple[np.ndarray, ...]:
    goods, people = market.items, market.shoppers
    day = requests.day[:, None]
    sold = on_sale(market, items, day)
    click, order = _log_odds(market, requests, items)
    if coupon is not None:
        order = order + coupon * coupon_log_odds(market, requests, items)
    category, merchant = goods.category[items], goods.merchant[items]
    units = EXTRA_UNITS[category] * people.bulk[requests.user][:, None]
    refused = market.merchants.refusal_rate[merchant] * people.cash[requests.user][:, None]
    returned = market.merchants.return_rate[merchant] * RETURN_FACTOR[category] * np.exp(-0.3 * goods.quality[items])
    returned = returned * np.where(goods.bait[items], 1.5, 1.0)
    return (
        np.where(sold, _sigmoid(click), 0.0),
        np.where(sold, _sigmoid(order), 0.0),
        np.where(items >= 0, price_on(market, items, day), 0.0),
        units.astype(np.float64),
        np.minimum(refused, 0.9),
        np.minimum(returned, 0.9),
    )


def _log_odds(market: Market, requests: RequestBatch, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log-odds of a click given examination, and of an order given a click."""
    goods, people, config = market.items, market.shoppers, market.config
    user, day = requests.user, requests.day[:, None]
    liking = _liking(market, requests, items)
    dear = people.price_sensitivity[user][:, None] * relative_price_on(market, items, day)
    merchant = goods.merchant[items]
    loyal = (people.loyal[user][:, None, :] == merchant[:, :, None]).any(axis=2)
    local = market.merchants.country[merchant] == people.country[user][:, None]
    bait, quality = goods.bait[items], goods.quality[items]
    recent = day - goods.available[items] < RECENT_DAYS
    click = CLICK_BASE[requests.surface][:, None] + config.click_offset + 0.8 * liking - 0.45 * dear
    click = click + 0.6 * loyal + 0.1 * local + 0.2 * quality + goods.appeal[items] + BAIT_CLICK * bait + 0.3 * recent
    mobile = (people.device[user] != words.DEVICES.index("web"))[:, None]
    order = ORDER_BASE + config.order_offset + 0.45 * liking - 0.55 * dear + 0.8 * loyal + 0.55 * quality
    order = order + BAIT_ORDER * bait + 0.25 * local - 0.2 * mobile - 0.4 * DEAR_CATEGORY[goods.category[items]]
    intended = goods.category[items] == requests.intent[:, None]
    return click + _fit(market, requests, items) + 0.4 * intended, order + 0.5 * intended


def _liking(market: Market, requests: RequestBatch, items: np.ndarray) -> np.ndarray:
    """Taste for the item's category and style, log-odds."""
    taste = np.take_along_axis(taste_on(market, requests.user, requests.day), market.items.category[items], axis=1)
    style = np.einsum("rd,rcd->rc", market.shoppers.style[requests.user], market.items.style[items])
    return taste + 0.45 * style


def _fit(market: Market, requests: RequestBatch, items: np.ndarray) -> np.ndarray:
    """Log-odds by which the item answers the page: the query, the store, or the product beside it."""
    goods = market.items
    fit = np.zeros(items.shape, np.float32)
    rows = np.flatnonzero(requests.surface == HOME)
    fit[rows] = np.where(goods.category[items[rows]] == requests.intent[rows, None], 0.5, 0.0)
    rows = np.flatnonzero(requests.surface == SEARCH)
    brand = requests.query_brand[rows, None]
    fit[rows] = np.where(goods.category[items[rows]] == requests.query_category[rows, None], 0.0, MISFIT)
    fit[rows] += np.where(brand < 0, 0.0, np.where(goods.brand[items[rows]] == brand, 1.1, -0.4))
    rows = np.flatnonzero(requests.surface == STORE)
    fit[rows] = np.where(goods.merchant[items[rows]] == requests.page_merchant[rows, None], 0.0, MISFIT)
    rows = np.flatnonzero(requests.surface == PRODUCT)
    page = requests.page_item[rows, None]
    fit[rows] = np.where(goods.category[items[rows]] == goods.category[page], 0.3, -0.6)
    fit[rows] += 0.5 * (goods.brand[items[rows]] == goods.brand[page])
    fit[rows] += 0.2 * np.einsum("rd,rcd->rc", goods.style[page[:, 0]], goods.style[items[rows]])
    return fit


def _sigmoid(log_odds: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-log_odds.astype(np.float64)))
