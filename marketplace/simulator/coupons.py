"""Coupons: what one of COUPON_SAR on an item adds to the log-odds of an order, given a click.

The larger a share of the price it is, and the more a shopper minds prices, the more it adds: most to what is cheap, and
little to what sells for much, so that sales and what a coupon adds to sales are different orders.
"""

from __future__ import annotations

import numpy as np

from marketplace.simulator.market import Market, price_on
from marketplace.simulator.requests import RequestBatch

COUPON_SAR = 20.0
MOST = 0.5  # of the price: what a coupon is worth at most
PULL = 4.0  # log-odds by which a whole price's worth would move a shopper of price sensitivity 1


def coupon_log_odds(market: Market, requests: RequestBatch, items: np.ndarray) -> np.ndarray:
    """float64 [R, C] for items int32 [R, C]."""
    share = np.minimum(COUPON_SAR / price_on(market, items, requests.day[:, None]), MOST)
    return PULL * market.shoppers.price_sensitivity[requests.user][:, None] * share
