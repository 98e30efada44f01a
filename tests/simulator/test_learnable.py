"""A ranker that sees only what the platform records gets most of what can be had, and money where it learns money."""

import numpy as np
import pytest
from logged import events_at, logged_lists
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

from marketplace.simulator import (
    RequestBatch,
    Simulation,
    SimulatorConfig,
    popularity_policy,
    random_policy,
    simulate,
    true_difference,
)


class Learned:
    """Gradient-boosted clicks and conversion on recorded columns and counts of the shopper's own past clicks."""

    def __init__(self, simulation: Simulation, past: slice) -> None:
        market, self.market = simulation.market, simulation.market
        requests, items = simulation.requests.take(past), logged_lists(simulation)[past]
        clicked = events_at(simulation, logged_lists(simulation))[past]
        ordered = events_at(simulation, logged_lists(simulation), event="order")[past]
        known, half = items >= 0, len(items) // 2
        row = np.nonzero(known)[0]
        user, item = requests.user[row], items[known]
        early = row < half  # counts come from the first half, the fit from the second
        weight = clicked[known][early]
        pairs = (user[early].astype(np.int64), item[early])
        self.by_category = np.zeros((len(market.shoppers.country), 24))
        np.add.at(self.by_category, (pairs[0], market.items.category[pairs[1]]), weight)
        self.by_merchant = np.zeros((len(market.shoppers.country), len(market.merchants.size)), np.float32)
        np.add.at(self.by_merchant, (pairs[0], market.items.merchant[pairs[1]]), weight)
        clicks = np.bincount(pairs[1], weight, minlength=len(market.items.price))
        orders = np.bincount(pairs[1], ordered[known][early], minlength=len(clicks))
        shown = np.bincount(pairs[1], minlength=len(clicks))
        self.item_ctr, self.item_cvr = (clicks + 3) / (shown + 40), (orders + 1) / (clicks + 8)
        position = np.broadcast_to(np.arange(1, items.shape[1] + 1), items.shape)
        features = self.features(requests.take(slice(half, None)), items[half:], position[half:])
        rows, label = features[known[half:]], clicked[half:][known[half:]] > 0
        self.click = HistGradientBoostingClassifier(max_iter=150, learning_rate=0.06, random_state=0).fit(rows, label)
        order = ordered[half:][known[half:]][label] > 0
        self.order = HistGradientBoostingClassifier(max_iter=60, learning_rate=0.06, random_state=0)
        self.order.fit(rows[label], order)

    def features(self, requests: RequestBatch, items: np.ndarray, position: np.ndarray) -> np.ndarray:
        people, goods, merchants = self.market.shoppers, self.market.items, self.market.merchants
        category, merchant = goods.category[items], goods.merchant[items]
        user = requests.user[:, None]
        page = np.where(requests.page_item >= 0, goods.category[requests.page_item], -1)[:, None]
        columns = (
            requests.surface[:, None],
            people.observed_segment[user],
            people.country[user],
            category,
            goods.brand[items],
            goods.attribute[items],
            requests.query_category[:, None] == category,
            page == category,
            requests.query_brand[:, None] == goods.brand[items],
            np.log(goods.price[items]),
            goods.relative_price[items],
            merchants.quality[merchant],
            self.item_ctr[items],
            self.item_cvr[items],
            self.by_category[user, category],
            self.by_category[user].sum(axis=2),
            self.by_merchant[user, merchant],
            position,
        )
        return np.stack([np.broadcast_to(column, items.shape) for column in columns], axis=-1).astype(np.float32)

    def heads(self, requests: RequestBatch, items: np.ndarray, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows = self.features(requests, items, position).reshape(items.size, -1)
        shape = items.shape
        return tuple(model.predict_proba(rows)[:, 1].reshape(shape) for model in (self.click, self.order))

    def ctr_policy(self, requests: RequestBatch, candidates: np.ndarray) -> np.ndarray:
        return self.heads(requests, candidates, np.ones_like(candidates))[0]

    def gmv_policy(self, requests: RequestBatch, candidates: np.ndarray) -> np.ndarray:
        click, order = self.heads(requests, candidates, np.ones_like(candidates))
        return click * order * self.market.items.price[candidates]


@pytest.mark.slow
def test_a_ranker_on_recorded_columns_learns_clicks_and_money():
    simulation = simulate(SimulatorConfig.demo(), np.random.default_rng(2))
    cut = int(len(simulation.requests) * 0.8)
    learned = Learned(simulation, slice(0, cut))
    items = logged_lists(simulation)
    known = items[cut:] >= 0
    position = np.broadcast_to(np.arange(1, items.shape[1] + 1), items.shape)
    late = simulation.requests.take(slice(cut, None))
    clicked = events_at(simulation, items)[cut:][known]
    examined = simulation.examination(positions=items.shape[1])[late.surface]
    best = roc_auc_score(clicked, (simulation.respond(late, items[cut:]).attraction * examined)[known])
    by_position = roc_auc_score(clicked, examined[known])
    auc = roc_auc_score(clicked, learned.heads(late, items[cut:], position[cut:])[0][known])
    assert by_position + 0.35 * (best - by_position) < auc < best
    requests = simulation.draw_requests(np.random.default_rng(3), count=2_000, window=(34.0, 42.0))
    draws = {"requests": requests, "candidates": simulation.draw_candidates(requests, np.random.default_rng(4))}
    rng = np.random.default_rng(5)
    rivals = (random_policy(rng), popularity_policy(simulation.market), learned.ctr_policy)
    for rival in rivals:
        gap = true_difference(simulation, learned.gmv_policy, rival, rng=rng, **draws)
        assert gap["gmv_sar"].low > 0
