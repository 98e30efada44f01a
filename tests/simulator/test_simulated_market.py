"""The market is worth learning: tastes show in its log, the named trade-offs exist, and drifts drift."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from logged import events_at, logged_lists
from sklearn.metrics import roc_auc_score

from marketplace.schema import SURFACES
from marketplace.simulator import SimulatorConfig, demand, simulate, true_ctr_policy, true_difference, true_gmv_policy
from marketplace.simulator.market import on_sale, price_on
from marketplace.simulator.moves import SPELL_DAYS
from marketplace.simulator.shown import best_first, slate_length


def fresh(simulation, *, count: int = 1_500):
    requests = simulation.draw_requests(np.random.default_rng(11), count=count)
    return requests, simulation.draw_candidates(requests, np.random.default_rng(12))


def top(simulation, policy, requests, candidates) -> np.ndarray:
    shown = best_first(policy(requests, candidates), candidates, length=slate_length(simulation.config, requests))
    return shown[shown >= 0]


def test_ranking_by_clicks_alone_loses_money_and_quality(market_log):
    market = market_log.market
    gap = true_difference(
        market_log, true_gmv_policy(market), true_ctr_policy(market), rng=np.random.default_rng(2), requests=1_500
    )
    assert gap["ctr"].high < 0
    for name in ("gmv_sar", "margin_sar", "cvr", "order_value_sar", "merchant_quality"):
        assert gap[name].low > 0, name
    assert gap["return_rate"].high < 0


def test_bait_draws_clicks_that_do_not_convert(market_log):
    requests, candidates = fresh(market_log)
    response = market_log.respond(requests, candidates)
    bait = market_log.market.items.bait[candidates] & (candidates >= 0)
    honest = ~bait & (candidates >= 0)
    assert response.attraction[bait].mean() > 1.5 * response.attraction[honest].mean()
    assert response.order[bait].mean() < 0.5 * response.order[honest].mean()
    by_click = market_log.market.items.bait[top(market_log, true_ctr_policy(market_log.market), requests, candidates)]
    by_gmv = market_log.market.items.bait[top(market_log, true_gmv_policy(market_log.market), requests, candidates)]
    assert by_click.mean() > 1.5 * by_gmv.mean()


def test_dear_items_convert_less_and_bring_more(market_log):
    requests, candidates = fresh(market_log)
    response, known = market_log.respond(requests, candidates), candidates >= 0
    relative = market_log.market.items.relative_price[candidates]
    dear, cheap = known & (relative > 0.7), known & (relative < -0.7)
    assert response.order[dear].mean() < 0.8 * response.order[cheap].mean()
    assert response.gmv[dear].mean() > 1.5 * response.gmv[cheap].mean()


def test_poor_merchants_get_more_back(market_log):
    requests, candidates = fresh(market_log)
    response, known = market_log.respond(requests, candidates), candidates >= 0
    quality = market_log.market.merchants.quality[market_log.market.items.merchant[candidates]]
    assert response.lost[known & (quality < 0.5)].mean() > 2 * response.lost[known & (quality > 0.8)].mean()


def test_tastes_are_learnable_from_the_log(market_log):
    """Click rates of segment x category, from the first half, tell clicks of the second half beyond position."""
    items = logged_lists(market_log)
    clicked, known = events_at(market_log, items), items >= 0
    segment = market_log.market.shoppers.observed_segment[market_log.requests.user][:, None]
    cell = segment.astype(int) * 24 + market_log.market.items.category[items]
    examined = market_log.examination(positions=items.shape[1])[market_log.requests.surface]
    half = len(items) // 2
    past, future = known[:half], known[half:]
    clicks = np.bincount(cell[:half][past], clicked[:half][past], minlength=144)
    seen = np.bincount(cell[:half][past], examined[:half][past], minlength=144)
    rate = (clicks + 10) / (seen + 100)
    position = roc_auc_score(clicked[half:][future], examined[half:][future])
    both = roc_auc_score(clicked[half:][future], (rate[cell[half:]] * examined[half:])[future])
    truth = market_log.respond(market_log.requests, items).attraction * examined
    best = roc_auc_score(clicked[half:][future], truth[half:][future])
    assert both > position + 0.012
    assert best > both + 0.03


def test_shoppers_come_back_to_their_merchants(market_log):
    requests, candidates = fresh(market_log)
    response, known = market_log.respond(requests, candidates), candidates >= 0
    merchant = market_log.market.items.merchant[candidates]
    loyal = (market_log.market.shoppers.loyal[requests.user][:, None] == merchant[:, :, None]).any(axis=2)
    home = known & (requests.surface == SURFACES.index("home"))[:, None]
    assert response.attraction[home & loyal].mean() > 1.2 * response.attraction[home & ~loyal].mean()
    assert response.order[known & loyal].mean() > 1.2 * response.order[known & ~loyal].mean()


def test_weekends_evenings_and_seasons_are_busier():
    start = datetime(2025, 1, 6, tzinfo=UTC)
    saudi = demand.hourly_intensity(start, days=14)[0]
    weekday = (start.weekday() + (np.arange(14 * 24) + 3) // 24) % 7
    assert saudi[weekday == 4].mean() > 1.2 * saudi[weekday == 0].mean()
    local_hour = (np.arange(14 * 24) + 3) % 24
    assert saudi[local_hour == 21].mean() > 3 * saudi[local_hour == 4].mean()
    year = demand.season_lift(start, np.arange(365))
    assert year[(datetime(2025, 3, 15, tzinfo=UTC) - start).days] > 1.4
    assert year[(datetime(2025, 11, 27, tzinfo=UTC) - start).days] > 1.9
    assert year[(datetime(2025, 7, 1, tzinfo=UTC) - start).days] == 1


def test_requests_of_the_log_follow_the_demand(market_log):
    hour = ((market_log.requests.day * 24 + 3) % 24).astype(int)
    share = np.bincount(hour, minlength=24) / len(hour)
    assert np.abs(share - demand.HOURLY / demand.HOURLY.sum()).max() < 0.01


# Drifts: the same seed with and without the switch.

DRIFT = replace(SimulatorConfig.small(), requests=4_000, drift_day=20.0)


@pytest.fixture(scope="module")
def steady():
    return simulate(DRIFT, np.random.default_rng(4))


def drifted(**change):
    return simulate(replace(DRIFT, **change), np.random.default_rng(4))


def test_preferences_change_by_the_share_named_and_only_after_the_day(steady):
    changed = drifted(preference_drift=0.5)
    requests, candidates = fresh(steady)
    before, after = (steady.respond(requests, candidates), changed.respond(requests, candidates))
    early = requests.day < 20
    assert np.array_equal(before.attraction[early], after.attraction[early])
    assert np.abs(before.attraction[~early] - after.attraction[~early]).mean() > 0.01
    people = changed.market.shoppers
    assert np.isclose(np.corrcoef(people.taste.ravel(), people.taste_after.ravel())[0, 1], np.sqrt(0.5), atol=0.05)


def test_demand_moves_between_categories_after_the_day(steady):
    changed = drifted(demand_shift=2.0)
    for early in (True, False):
        shares = [(run.requests.intent[(run.requests.day < 20) == early] % 2 == 1).mean() for run in (steady, changed)]
        assert abs(shares[1] - shares[0]) < 0.01 if early else shares[1] - shares[0] > 0.2


def test_new_merchants_arrive_on_the_day(steady):
    changed = drifted(new_merchants=0.4)
    joined = changed.market.merchants.joined
    assert abs((joined == 20).mean() - 0.4) < 0.15
    assert not (steady.market.merchants.joined == 20).any()
    arrived = (joined == 20)[changed.market.items.merchant]
    shown = np.where(changed.ranked.shown, changed.ranked.item, -1)
    early = changed.requests.day < 20
    assert not (arrived[shown] & (shown >= 0))[early].any()
    assert (arrived[shown] & (shown >= 0))[~early].mean() > 0.02


def test_prices_change_by_the_share_named_after_the_day(steady):
    changed = drifted(price_change=0.2)
    slates = changed.dataset.slates
    prices = np.concatenate(slates["price"].to_pylist())
    listed = changed.market.items.price[changed.item_rows(slates["item_id"].combine_chunks().flatten())]
    late = np.repeat(changed.requests.day >= 20, changed.ranked.length)
    assert np.allclose(prices[late], listed[late] * 1.2, atol=0.006)
    assert np.allclose(prices[~late], listed[~late])
    requests, candidates = fresh(steady)
    before, after = (steady.respond(requests, candidates), changed.respond(requests, candidates))
    sold = (before.order > 0) & (requests.day >= 20)[:, None]
    assert (after.order[sold] < before.order[sold]).all()


def test_prices_move_once_stock_runs_out_for_a_spell_and_the_log_ends_before_the_market():
    moving = replace(SimulatorConfig.small(), requests=600, repriced_share=0.5, sold_out_share=0.5, log_days=10)
    simulation = simulate(moving, np.random.default_rng(3))
    market, items = simulation.market, np.arange(moving.items)
    assert simulation.requests.day.max() < 11
    before, after = market.moves.repriced - 0.01, market.moves.repriced + 0.01
    moved = np.isfinite(before)
    step = np.log(price_on(market, items, after) / price_on(market, items, before))[moved]
    np.testing.assert_allclose(step, market.moves.price_step[moved], atol=0.02)
    assert abs(moved.mean() - 0.5) < 0.06
    gone = np.flatnonzero(np.isfinite(market.moves.out_from) & market.items.in_stock & np.isinf(market.items.available))
    for offset, sold in ((-0.01, True), (0.01, False), (SPELL_DAYS - 0.01, False), (SPELL_DAYS + 0.01, True)):
        assert (on_sale(market, gone, market.moves.out_from[gone] + offset) == sold).all()
    shown = logged_lists(simulation)
    assert (on_sale(market, shown, simulation.requests.day[:, None]) == (shown >= 0)).all()
    assert simulate(replace(moving, log_days=0), np.random.default_rng(3)).requests.day.max() > 40
