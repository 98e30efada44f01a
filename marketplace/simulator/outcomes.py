"""What a ranking is worth, exactly: expectations given the list shown, without drawing a single click.

Arrays are [R, k] over requests and positions; -1 = nothing shown there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from marketplace.simulator.behaviour import Response, respond
from marketplace.simulator.examination import examination_curve
from marketplace.simulator.market import Market, is_newcomer
from marketplace.simulator.requests import RequestBatch
from marketplace.simulator.shown import slate_length

RETURN_COST_SAR = 18.0  # what the platform pays for a refused or returned parcel


@dataclass(frozen=True)
class SampledOutcomes:
    """Expectations per shown item, float64 [R, k]; amounts in SAR."""

    item: np.ndarray  # int32
    examination: np.ndarray  # P(examined), 0 where nothing is shown
    response: Response
    commission_rate: np.ndarray
    merchant_quality: np.ndarray
    newcomer: np.ndarray  # bool: the merchant is a newcomer

    @property
    def click(self) -> np.ndarray:
        return self.examination * self.response.attraction

    @property
    def order(self) -> np.ndarray:
        return self.click * self.response.order

    @property
    def gmv(self) -> np.ndarray:
        """Ordered, whether or not it is kept."""
        return self.order * self.response.order_value

    @property
    def lost(self) -> np.ndarray:
        """Orders refused or returned."""
        return self.order * self.response.lost

    @property
    def net_gmv(self) -> np.ndarray:
        """Ordered and kept."""
        return self.gmv * (1 - self.response.lost)

    @property
    def commission(self) -> np.ndarray:
        """The platform's share of what is kept."""
        return self.net_gmv * self.commission_rate

    @property
    def margin(self) -> np.ndarray:
        """Commission less the cost of parcels that come back."""
        return self.commission - RETURN_COST_SAR * self.lost


def expected_outcomes(market: Market, requests: RequestBatch, ranked: np.ndarray) -> SampledOutcomes:
    """Of showing `ranked` int [R, k], best first; see `shown_items`."""
    item = shown_items(market, requests, ranked)
    curve = examination_curve(positions=item.shape[1], power=market.config.examination_power)[requests.surface]
    merchant = market.items.merchant[item]
    return SampledOutcomes(
        item=item,
        examination=np.where(item >= 0, curve, 0.0),
        response=respond(market, requests, item),
        commission_rate=market.merchants.commission_rate[merchant],
        merchant_quality=market.merchants.quality[merchant],
        newcomer=is_newcomer(market, merchant, requests.day[:, None]),
    )


def shown_items(market: Market, requests: RequestBatch, ranked: np.ndarray) -> np.ndarray:
    """`ranked` int [R, k] cut to what each surface shows, int32, -1 beyond.

    Raises ValueError for a wrong shape, an unknown item or one shown twice in a list.
    """
    if ranked.ndim != 2 or len(ranked) != len(requests):
        raise ValueError(f"ranked items are {ranked.shape}; wanted one row for each of {len(requests)} requests.")
    if ranked.max(initial=-1) >= market.config.items or ranked.min(initial=0) < -1:
        raise ValueError(f"ranked items hold rows outside -1 .. {market.config.items - 1}, the simulated catalogue.")
    ordered = np.sort(ranked, axis=1)
    repeated = ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any(axis=1)
    if repeated.any():
        raise ValueError(f"request {int(repeated.argmax())} shows an item twice: drop repeats before asking its worth.")
    shown = np.arange(ranked.shape[1]) < slate_length(market.config, requests)[:, None]
    return np.where(shown, ranked, -1).astype(np.int32)
