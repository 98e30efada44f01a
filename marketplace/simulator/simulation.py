"""Run the market: the data set that a platform would hold, and beside it the truth that produced it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from marketplace.dataset import Dataset
from marketplace.simulator import answers, record_log, record_market
from marketplace.simulator.behaviour import Response, respond
from marketplace.simulator.candidates import Proposals, draw_candidates
from marketplace.simulator.config import CURRENCY, SimulatorConfig
from marketplace.simulator.events import draw_delays, draw_events
from marketplace.simulator.examination import examination_curve
from marketplace.simulator.market import Market, draw_market
from marketplace.simulator.outcomes import shown_items
from marketplace.simulator.requests import RequestBatch, draw_requests
from marketplace.simulator.shown import ShownLists, rank_as_logged


@dataclass(frozen=True)
class Simulation:
    """`dataset` is what may be learned from; everything else is the truth. Row r of `requests` and `ranked` is
    row r of `dataset.slates`; items are rows of `dataset.items`."""

    dataset: Dataset
    market: Market
    requests: RequestBatch
    ranked: ShownLists

    @property
    def config(self) -> SimulatorConfig:
        return self.market.config

    def respond(self, requests: RequestBatch, items: np.ndarray, *, coupon: np.ndarray | None = None) -> Response:
        """Every probability of each request's items, int32 [R, C] (-1 = none); `coupon` bool [R, C]: which bear one."""
        return respond(self.market, requests, items, coupon=coupon)

    def click_probability(
        self, requests: RequestBatch, items: np.ndarray, *, position: np.ndarray | None = None
    ) -> np.ndarray:
        """P(click | shown at `position`), float64 [R, C]; position int [R, C], 1-based; None = examined for sure."""
        attraction = self.respond(requests, items).attraction
        if position is None:
            return attraction
        curve = self.examination(positions=int(position.max(initial=1)))
        return attraction * curve[requests.surface[:, None], np.maximum(position, 1) - 1] * (position > 0)

    def order_probability(self, requests: RequestBatch, items: np.ndarray) -> np.ndarray:
        """P(order | click), float64 [R, C]."""
        return self.respond(requests, items).order

    def order_value(self, requests: RequestBatch, items: np.ndarray) -> np.ndarray:
        """E[order value | order] in SAR, float64 [R, C]."""
        return self.respond(requests, items).order_value

    def return_probability(self, requests: RequestBatch, items: np.ndarray) -> np.ndarray:
        """P(refused or returned | order), float64 [R, C]."""
        return self.respond(requests, items).lost

    def examination(self, *, positions: int) -> np.ndarray:
        """P(examined) float64 [surfaces, positions], surfaces as in schema.SURFACES."""
        return examination_curve(positions=positions, power=self.config.examination_power)

    def draw_requests(
        self, rng: np.random.Generator, *, count: int, window: tuple[float, float] | None = None
    ) -> RequestBatch:
        """`count` fresh requests, close to independent: picked at random from four times as many.

        `window` in days after the log's start; None = the log's own period.
        """
        many = draw_requests(self.market, rng, count=4 * count, window=window)
        return many.take(np.sort(rng.choice(len(many), size=count, replace=False)))

    def draw_candidates(self, requests: RequestBatch, rng: np.random.Generator) -> np.ndarray:
        """Candidates as the log's retrieval proposes them, int32 [R, C], -1 = none."""
        return draw_candidates(self.market, requests, rng).item

    def request_table(self, requests: RequestBatch, *, prefix: str = "t") -> pa.Table:
        """The requests as an engine is asked them: SLATE's columns from request_id to currency."""
        return record_log.request_table(self.market, requests, prefix=prefix)

    def draw_feedback(
        self, requests: RequestBatch, ranked: np.ndarray, rng: np.random.Generator, *, prefix: str = "t"
    ) -> pa.Table:
        """What shoppers do with the lists int [R, k] of any policy: FEEDBACK rows, as the log has them.

        They answer the requests of `request_table` with the same `prefix`. Lists are cut as in `true_value`.
        """
        return _feedback(self.market, requests, shown_items(self.market, requests, ranked), rng, prefix=prefix)

    def item_rows(self, ids: pa.Array | pa.ChunkedArray) -> np.ndarray:
        """Rows of `dataset.items` (int32) of item ids; -1 = unknown."""
        return record_log.item_rows(ids, self.config.items)

    def ranked_items(self, slates: pa.Table, request_ids: pa.Array | pa.ChunkedArray) -> np.ndarray:
        """The lists that `slates` (SLATE columns request_id, item_id, position) show, int32 [R, k] in position order.

        Row r answers request_ids[r]; -1 where nothing is shown, all of the row where there is no answer.
        """
        return answers.ranked_items(slates, request_ids, items=self.config.items)


def simulate(config: SimulatorConfig, rng: np.random.Generator) -> Simulation:
    """A market and its log. Each part has its own stream, so that a switch changes what its name says and no more."""
    for_market, for_requests, for_candidates, for_ranking, for_events = rng.spawn(5)
    market = draw_market(config, for_market)
    window = (0.0, float(config.log_days or config.days))
    requests = draw_requests(market, for_requests, count=config.requests, window=window)
    proposals = draw_candidates(market, requests, for_candidates)
    answered = np.flatnonzero((proposals.item >= 0).any(axis=1))
    requests = requests.take(answered)
    proposals = Proposals(proposals.item[answered], proposals.source[answered])
    ranked = rank_as_logged(market, requests, proposals, for_ranking)
    coupon = _coupons(config, ranked, rng)
    return Simulation(_record(market, requests, ranked, for_events, coupon), market, requests, ranked)


def _coupons(config: SimulatorConfig, ranked: ShownLists, rng: np.random.Generator) -> np.ndarray | None:
    """bool [R, C]: which items bear a coupon, from a stream of its own."""
    return rng.spawn(1)[0].random(ranked.item.shape) < config.coupon_share if config.coupon_share else None


def _record(
    market: Market, requests: RequestBatch, ranked: ShownLists, rng: np.random.Generator, coupon: np.ndarray | None
) -> Dataset:
    config = market.config
    items = np.where(ranked.shown, ranked.item, -1)[:, : max(config.shown)]
    return Dataset(
        name="simulator",
        currency=CURRENCY,
        items=record_market.items_table(market),
        merchants=record_market.merchants_table(market),
        users=record_market.users_table(market.shoppers, config),
        slates=record_log.slates_table(market, requests, ranked, coupon=coupon),
        feedback=_feedback(market, requests, items, rng, prefix=record_log.LOGGED, coupon=coupon),
        notes=("Simulated: a market with known truth; no figure on it says anything about real shoppers.",),
        mapped_features=("country", "city", "device"),  # brands are for rules of a slate: no benchmark reads them
    )


def _feedback(
    market: Market,
    requests: RequestBatch,
    items: np.ndarray,
    rng: np.random.Generator,
    *,
    prefix: str,
    coupon: np.ndarray | None = None,
) -> pa.Table:
    """Feedback on `items` int32 [R, k] as shown at positions 1, 2, ..."""
    luck, clock = rng.spawn(2)
    events = draw_events(
        requests,
        respond(market, requests, items, coupon=None if coupon is None else coupon[:, : items.shape[1]]),
        items >= 0,
        luck,
        cart_rate=market.config.cart_rate,
        value_spread=market.config.value_spread,
        examination_power=market.config.examination_power,
    )
    return record_log.feedback_table(market, requests, items, events, draw_delays(events, clock), prefix=prefix)
