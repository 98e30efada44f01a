"""Slate estimators on the simulated market's log: another temperature's clicks, predicted and true."""

from dataclasses import replace

import numpy as np
import pytest

from evaluation.counterfactual import slates
from evaluation.counterfactual.diagnostics import weight_diagnostics
from marketplace.simulator import SimulatorConfig, simulate

DEPTH, SHARPER = 4, 1.5


@pytest.fixture(scope="module")
def market():
    config = replace(SimulatorConfig.small(), requests=4000, click_offset=1.5)
    return simulate(config, np.random.default_rng(0))


def true_clicks(market, rng, *, rounds=20):
    """Mean clicks on the first DEPTH positions of the sharper policy, from the market's own probabilities."""
    logits = np.where(market.ranked.item >= 0, market.ranked.score * SHARPER, -np.inf)
    position = np.broadcast_to(np.arange(1, DEPTH + 1), (len(logits), DEPTH))
    total = 0.0
    for _ in range(rounds):
        best = np.argsort(-(logits + rng.gumbel(size=logits.shape)), axis=1)[:, :DEPTH]
        items = np.take_along_axis(market.ranked.item, best, axis=1)
        total += market.click_probability(market.requests, items, position=position).sum(axis=1).mean()
    return total / rounds


def read_log(market, rng):
    present = market.ranked.item >= 0
    place = np.arange(1, present.shape[1] + 1)
    position = np.where(market.ranked.shown, place, 0)
    chance = market.click_probability(market.requests, market.ranked.item, position=position)
    click = (rng.random(chance.shape) < chance).astype(float)
    offsets = np.concatenate(([0], np.cumsum(present.sum(axis=1))))
    columns = (click, position, market.ranked.propensity, market.ranked.score * SHARPER)
    return slates.read(*(column[present] for column in columns), offsets, depth=DEPTH)


def test_answer_cover_the_market_s_truth(market):
    rng = np.random.default_rng(1)
    truth, log = true_clicks(market, rng), read_log(market, rng)
    answer = slates.evaluate_slates(log, rng=rng)
    assert all(answer[name].low <= truth <= answer[name].high for name in ("sips", "rips", "snsips")), (truth, answer)
    assert answer["rips"].high - answer["rips"].low < answer["sips"].high - answer["sips"].low
    logged = np.nansum(log.reward, axis=1).mean()
    assert abs(answer["rips"].value - truth) < abs(logged - truth) + (answer["rips"].high - answer["rips"].low) / 4


def test_the_log_s_propensities_are_true(market):
    log = read_log(market, np.random.default_rng(2))
    mean = weight_diagnostics(log.weight_down_to[:, -1]).mean
    assert mean.low <= 1 <= mean.high


def test_a_shown_item_needs_a_propensity():
    with pytest.raises(ValueError, match="row 0 is nan"):
        slates.read(np.ones(2), np.array([1, 2]), np.array([np.nan, 1]), np.zeros(2), np.array([0, 2]), depth=2)
