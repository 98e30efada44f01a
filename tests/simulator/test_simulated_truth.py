"""The log is a draw from the truth: counts, examination, propensities and amounts agree with the exact figures."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from logged import events_at, logged_lists

from marketplace import plackett_luce
from marketplace.schema import EVENTS
from marketplace.simulator import expected_outcomes, logging_policy, true_value
from marketplace.simulator.behaviour import EXTRA_UNITS, Response
from marketplace.simulator.events import draw_events, order_values
from marketplace.simulator.examination import seen_curve


def logged_events(simulation) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(row of the slate, amount or 0) of every event, by event."""
    feedback = simulation.dataset.feedback
    row = pc.index_in(feedback["request_id"], simulation.dataset.slates["request_id"].combine_chunks()).to_numpy()
    event = feedback["event"].cast(pa.string()).to_numpy()
    amount = pc.fill_null(feedback["amount"], 0.0).to_numpy()
    return {name: (row[event == name], amount[event == name]) for name in EVENTS}


def per_slate(simulation, event: str, *, money: bool = False) -> np.ndarray:
    row, amount = logged_events(simulation)[event]
    return np.bincount(row, weights=amount if money else None, minlength=len(simulation.requests))


def test_clicks_orders_returns_and_money_match_their_expectation(market_log):
    truth = expected_outcomes(market_log.market, market_log.requests, logged_lists(market_log))
    pairs = {
        "click": (per_slate(market_log, "click"), truth.click),
        "order": (per_slate(market_log, "order"), truth.order),
        "return": (per_slate(market_log, "return"), truth.lost),
        "gmv": (per_slate(market_log, "order", money=True), truth.gmv),
    }
    for name, (drawn, expected) in pairs.items():
        surprise = drawn - expected.sum(axis=1)
        error = surprise.std() / np.sqrt(len(surprise))
        assert abs(surprise.mean()) < 3.5 * error, name
        assert error < 0.08 * drawn.mean(), f"{name}: too few events to tell"


def test_probabilities_are_calibrated_where_they_are_high_and_where_they_are_low(market_log):
    items = logged_lists(market_log)
    position = np.where(items >= 0, np.arange(1, items.shape[1] + 1), 0)
    expected = market_log.click_probability(market_log.requests, items, position=position).sum(axis=1)
    drawn = per_slate(market_log, "click")
    for part in np.array_split(np.argsort(expected), 5):
        assert abs(drawn[part].mean() - expected[part].mean()) < 4 * drawn[part].std() / np.sqrt(len(part))


def test_true_value_of_the_logging_policy_covers_the_logs_own_means(market_log):
    policy = logging_policy(market_log.market, np.random.default_rng(5))
    truth = true_value(market_log, policy, rng=np.random.default_rng(6), requests=6_000)
    clicks, orders = per_slate(market_log, "click"), per_slate(market_log, "order")
    for name, drawn in {
        "clicks": clicks,
        "orders": orders,
        "gmv_sar": per_slate(market_log, "order", money=True),
    }.items():
        noise = (truth[name].high - truth[name].low) / 2 / 1.96
        # Requests of one visit share shopper and intent: twice the naive error covers it.
        assert abs(drawn.mean() - truth[name].value) < 3 * np.hypot(noise, 2 * drawn.std() / np.sqrt(len(drawn)))
    assert abs(clicks.sum() / market_log.ranked.length.sum() / truth["ctr"].value - 1) < 0.06
    assert abs(orders.sum() / clicks.sum() / truth["cvr"].value - 1) < 0.12


def test_examination_is_recovered_from_clicks_and_better_with_more_data(market_log):
    items = logged_lists(market_log)
    attraction = market_log.respond(market_log.requests, items).attraction
    position = np.broadcast_to(np.arange(items.shape[1]), items.shape)
    clicked = events_at(market_log, items)
    curve = market_log.examination(positions=items.shape[1])

    def error(rows: slice) -> float:
        surface = np.broadcast_to(market_log.requests.surface[rows, None], items[rows].shape)
        cell = (surface * items.shape[1] + position[rows]).ravel()
        clicks = np.bincount(cell, clicked[rows].ravel(), minlength=curve.size)
        attracted = np.bincount(cell, attraction[rows].ravel(), minlength=curve.size)
        known = attracted > 0
        return float(np.abs(clicks[known] / attracted[known] - curve.ravel()[known]).mean())

    assert error(slice(None)) < 0.06
    assert error(slice(None)) < 0.5 * error(slice(0, 1_000))


def test_impressions_reach_down_the_list_without_a_gap_as_far_as_the_curve_says(market_log):
    items = logged_lists(market_log)
    seen = events_at(market_log, items, event="impression")
    assert (np.diff(seen, axis=1) <= 0).all()
    assert (seen <= (items >= 0)).all()
    curve = seen_curve(positions=items.shape[1])
    for surface in range(4):
        rows = (market_log.requests.surface == surface) & (market_log.ranked.length >= 10)
        share = seen[rows, :10].mean(axis=0)
        assert (np.abs(share - curve[surface, :10]) < 4 * 0.5 / np.sqrt(rows.sum())).all()


def test_propensities_are_those_of_the_draws():
    scores = np.array([[0.3, -1.0, 1.2, -np.inf]])
    draws = 120_000
    order = plackett_luce.draw(np.repeat(scores, draws, axis=0), np.random.default_rng(3))
    ways, count = np.unique(order, axis=0, return_counts=True)
    assert len(ways) == 6
    assert (ways[:, 3] == 3).all()
    probability = plackett_luce.propensities(np.repeat(scores, 6, axis=0), ways)[:, :3].prod(axis=1)
    assert np.isclose(probability.sum(), 1)
    assert (np.abs(count / draws - probability) < 4 * np.sqrt(probability / draws)).all()


def test_logged_propensities_follow_from_the_logged_scores(small):
    ranked = small.ranked
    for row in range(0, len(small.requests), 97):
        left = np.exp(ranked.score[row][ranked.item[row] >= 0])
        for place in range(ranked.length[row]):
            assert np.isclose(ranked.propensity[row, place], left[place] / left[place:].sum())
    logged = np.concatenate(small.dataset.slates["propensity"].to_pylist())
    assert np.allclose(logged, ranked.propensity[ranked.shown])


def test_order_values_have_the_mean_that_the_truth_names():
    price, units = np.full(200_000, 120.0), np.full(200_000, 0.7)
    none = np.zeros(200_000)
    response = Response(none, none, price, units, none, none)
    drawn = order_values(response, np.random.default_rng(0), spread=0.15)
    assert abs(drawn.mean() - response.order_value[0]) < 4 * drawn.std() / np.sqrt(len(drawn))
    assert EXTRA_UNITS.max() > 1 > EXTRA_UNITS.min()


def test_refusals_and_returns_add_up_to_the_lost_share(small):
    requests = small.requests.take(np.zeros(100_000, int))
    one = np.ones((100_000, 1))
    response = Response(one, one, 50 * one, 0 * one, 0.2 * one, 0.25 * one)
    rng = np.random.default_rng(0)
    events = draw_events(requests, response, one > 0, rng, cart_rate=0.1, value_spread=0.1)
    lost = (events.refused | events.returned).sum() / events.order.sum()
    assert np.isclose(response.lost[0, 0], 0.2 + 0.8 * 0.25)
    assert abs(lost - 0.4) < 4 * np.sqrt(0.24 / 100_000)
