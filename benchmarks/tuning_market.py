"""The simulated market as tuning sees it: imperfect heads, a randomised log of a value policy, and the truth beside it.

Heads are the truth distorted: log-odds compressed by a fifth and moved by an error of each item's own, so that the
same items are always misjudged. Logging is Plackett-Luce over the value formula, with its exact propensities.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from evaluation.bias.examination import examination_of
from marketplace.schema import SURFACES
from marketplace.simulator import RequestBatch, Simulation, SimulatorConfig, simulate
from marketplace.simulator.behaviour import Response
from marketplace.simulator.events import draw_events
from marketplace.simulator.market import is_newcomer
from marketplace.simulator.shown import slate_length
from value_model.formula import ValuePolicy, parse_policy
from value_model.formula.logged_slates import LoggedSlates
from value_model.merchant import HALF_LIFE_DAYS
from value_model.tuning.evidence import Evidence
from value_model.tuning.exposure import of_plackett_luce
from value_model.tuning.from_log import expected_squares
from value_model.tuning.scoring import request_weights
from value_model.tuning.sweep import Sweep

CONFIG = SimulatorConfig(requests=10, users=3_000, items=4_000, merchants=200)
COMPRESSED, MISJUDGED = 0.8, 0.4  # of the heads' log-odds; the second is the sd of an item's own error
POLICY = b"""
name = "tuned market"
owner = "benchmark"
reason = "Ranks mostly by clicks: what a marketplace begins with, and much to gain."
currency = "SAR"
unit = "SAR / impression"

[expressions]
value = "w_click * ctr + w_order * ctcvr + w_gmv * gmv + w_quality * quality + w_new * newness"

[weights]
w_click = { value = 1, unit = "SAR / click", low = 0, high = 10, sign = "+", reason = "Clicks come first." }
w_order = { value = 1, unit = "SAR / order", low = 0, high = 50, sign = "+", reason = "Orders build habit." }
w_gmv = { value = 0.002, unit = "1", low = 0, high = 0.5, sign = "+", reason = "Sales are the business." }
w_quality = { value = 0.02, unit = "SAR / impression", low = 0, high = 1, sign = "+", reason = "Good service." }
w_new = { value = 0.005, unit = "SAR / impression", low = 0, high = 1, sign = "+", reason = "Fresh supply." }
"""
SPREAD = 0.25  # logging temperature, in standard deviations of the value within a slate


Serve = Callable[[int], Mapping[str, np.ndarray]]  # how many requests -> weights of each


@dataclass(frozen=True)
class TuningMarket:
    """One seed's market with its heads' errors: log-odds [2, items] of clicks and orders."""

    simulation: Simulation
    error: np.ndarray
    policy: ValuePolicy

    @classmethod
    def draw(cls, seed: int, *, config: SimulatorConfig = CONFIG) -> TuningMarket:
        rng = np.random.default_rng(seed)
        simulation = simulate(config, rng)
        error = rng.normal(0, MISJUDGED, (2, config.items))
        return cls(simulation, error, parse_policy(POLICY, file="tuning_market.py"))

    def truth(self, count: int, rng: np.random.Generator) -> Evidence:
        """Fresh requests whose `predicted` is the truth: 'direct' answers on it are true up to which requests came."""
        requests, items = self._requests(count, rng)
        response = self.simulation.respond(requests, items)
        return self._evidence(requests, items, response, _expected(response, self._commission(items)))

    def log(self, count: int, rng: np.random.Generator, *, serve: Serve | None = None) -> Evidence:
        """A Plackett-Luce log of the market's policy, with what shoppers did; `serve` gives requests other weights."""
        requests, items = self._requests(count, rng)
        response = self.simulation.respond(requests, items)
        columns = self.columns(requests, items, response)
        model = _model(columns, self._commission(items))
        return self._logged(serve, requests, items, response, model, rng)

    def _logged(
        self,
        serve: Serve | None,
        requests: RequestBatch,
        items: np.ndarray,
        response: Response,
        model: dict[str, np.ndarray],
        rng: np.random.Generator,
    ) -> Evidence:
        blank = self._evidence(requests, items, response, model)
        weights = request_weights(self.policy, blank.slates.surface, blank.segment)
        weights |= {} if serve is None else serve(len(requests))
        sweep = Sweep(self.policy, blank.slates.columns, mask=blank.slates.mask)
        values = sweep.values({name: w[None] for name, w in weights.items()})[0]
        mask = blank.slates.mask
        spread = np.sqrt(np.nanmean(np.nanvar(np.where(mask, values, np.nan), axis=1)))
        utility = values / (SPREAD * spread)
        order = np.argsort(-(utility + rng.gumbel(size=utility.shape)), axis=1)
        place = np.empty(order.shape, np.int64)
        np.put_along_axis(place, order, np.broadcast_to(np.arange(1, order.shape[1] + 1), order.shape), axis=1)
        position = np.where(mask & (place <= blank.shown[:, None]), place, 0)
        feedback = self._feedback(requests, items, order, position, rng)
        exposure = of_plackett_luce(utility, blank.examination, rng=rng).probability
        return replace(blank, position=position, feedback=feedback, exposure=exposure)

    def _feedback(
        self,
        requests: RequestBatch,
        items: np.ndarray,
        order: np.ndarray,
        position: np.ndarray,
        rng: np.random.Generator,
    ) -> dict[str, np.ndarray]:
        ranked = np.take_along_axis(items, order, axis=1)
        shown = np.take_along_axis(position, order, axis=1) > 0
        config = self.simulation.config
        events = draw_events(
            requests,
            self.simulation.respond(requests, ranked),
            shown,
            rng,
            cart_rate=config.cart_rate,
            value_spread=config.value_spread,
        )
        kept = np.where(events.refused | events.returned, 0.0, events.value)
        commission = kept * self._commission(ranked)
        outcomes = {"click": events.click, "order": events.order, "gmv": events.value, "commission": commission}
        brought = {}
        for name, outcome in outcomes.items():
            brought[name] = np.zeros(items.shape)
            np.put_along_axis(brought[name], order, outcome.astype(np.float64), axis=1)
        return brought

    def _requests(self, count: int, rng: np.random.Generator) -> tuple[RequestBatch, np.ndarray]:
        requests = self.simulation.draw_requests(rng, count=count)
        items = self.simulation.draw_candidates(requests, rng)
        several = (items >= 0).sum(axis=1) > 1
        return requests.take(several), items[several]

    def _commission(self, items: np.ndarray) -> np.ndarray:
        market = self.simulation.market
        return market.merchants.commission_rate[market.items.merchant[items]]

    def columns(self, requests: RequestBatch, items: np.ndarray, response: Response) -> dict[str, np.ndarray]:
        """What formulas read of each request's items, [R, C]: the heads' opinions, quality and newness."""
        market = self.simulation.market
        merchant = market.items.merchant[items]
        age = np.maximum(requests.day[:, None] - market.merchants.joined[merchant], 0.0)
        ctr, cvr = (_distorted(p, self.error[i][items]) for i, p in enumerate((response.attraction, response.order)))
        return {
            "ctr": ctr,
            "ctcvr": ctr * cvr,
            "gmv": ctr * cvr * response.order_value,
            "quality": market.merchants.quality[merchant],
            "newness": np.exp2(-age / HALF_LIFE_DAYS),
        }

    def _evidence(
        self, requests: RequestBatch, items: np.ndarray, response: Response, predicted: dict[str, np.ndarray]
    ) -> Evidence:
        market, mask = self.simulation.market, items >= 0
        surface = np.array(SURFACES)[requests.surface]
        depth = np.minimum(slate_length(self.simulation.config, requests), mask.sum(axis=1))
        curves = dict(zip(SURFACES, self.simulation.examination(positions=max(CONFIG.shown)), strict=True))
        merchant = market.items.merchant[items]
        newcomer = is_newcomer(market, merchant, requests.day[:, None])
        columns = self.columns(requests, items, response)
        return Evidence(
            slates=LoggedSlates({n: np.where(mask, c, 0.0) for n, c in columns.items()}, mask, surface),
            examination=examination_of(surface, depth, curves),
            position=np.zeros(items.shape, np.int64),
            feedback={name: np.zeros(items.shape) for name in predicted},
            predicted=predicted,
            squares=expected_squares(predicted),
            traits={"newcomer": newcomer.astype(float), "quality": market.merchants.quality[merchant]},
            unit=requests.user,
            segment=np.full(len(requests), ""),
        )


def _expected(response: Response, commission_rate: np.ndarray) -> dict[str, np.ndarray]:
    kept = response.gmv * (1 - response.lost) * commission_rate
    order = response.attraction * response.order
    return {"click": response.attraction, "order": order, "gmv": response.gmv, "commission": kept}


def _model(columns: dict[str, np.ndarray], commission_rate: np.ndarray) -> dict[str, np.ndarray]:
    """What the heads expect of an examined impression; they know nothing of returns."""
    commission = columns["gmv"] * commission_rate
    return {"click": columns["ctr"], "order": columns["ctcvr"], "gmv": columns["gmv"], "commission": commission}


def _distorted(probability: np.ndarray, error: np.ndarray) -> np.ndarray:
    clipped = np.clip(probability, 1e-9, 1 - 1e-9)
    log_odds = np.log(clipped / (1 - clipped))
    return 1 / (1 + np.exp(-(COMPRESSED * log_odds + (COMPRESSED - 1) * 3.5 + error)))
