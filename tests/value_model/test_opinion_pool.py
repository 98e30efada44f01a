"""The opinion pool: what its weights are, where they come from, and how it reads at their ends."""

from __future__ import annotations

import numpy as np
import pytest
from ranking_market import market, sigmoid

from marketplace.heads import composed
from value_model.rankers.calibration import log_odds
from value_model.rankers.opinion_pool import EQUAL, fit_weights, pooled


def opinion(rng: np.random.Generator, truth: dict[str, np.ndarray], *, noise: float) -> dict[str, np.ndarray]:
    """The truth with an error of its own, in log odds and in logs."""
    heads = {name: sigmoid(log_odds(truth[name]) + rng.normal(0, noise, len(truth[name]))) for name in ("ctr", "cvr")}
    return composed(heads | {"order_value": truth["order_value"] * np.exp(rng.normal(0, noise, len(truth["ctr"])))})


@pytest.fixture(scope="module")
def made():
    rng = np.random.default_rng(0)
    one = market(rng, requests=2000)
    truth = {"ctr": one.ctr, "cvr": one.cvr, "order_value": one.mean_value}
    return one.data, truth, opinion(rng, truth, noise=0.5), opinion(rng, truth, noise=1.0)


def test_the_weights_are_those_of_the_better_opinion(made):
    data, _, better, worse = made
    weights = fit_weights(worse, better, data)
    for head in ("ctr", "cvr", "order_value"):  # errors of 1 and .5 weigh 1 / 1 to 1 / .25
        assert 0.65 < weights[head] < 0.95
    assert fit_weights(better, worse, data)["ctr"] == pytest.approx(1 - weights["ctr"], abs=1e-6)


def test_the_pool_of_two_errors_is_closer_to_the_truth_than_either(made):
    data, truth, better, worse = made
    heads = pooled(worse, better, weights=fit_weights(worse, better, data))
    for head in ("ctr", "cvr", "order_value"):
        expected = np.log(truth[head])
        errors = [np.std(np.log(one[head]) - expected) for one in (heads, better, worse)]
        assert errors[0] < min(errors[1:])
    np.testing.assert_allclose(heads["gmv"], heads["ctr"] * heads["cvr"] * heads["order_value"])


def test_a_weight_of_0_or_1_is_one_opinion_alone(made):
    _, _, network, trees = made
    for weight, alone in ((0.0, network), (1.0, trees)):
        heads = pooled(network, trees, weights=dict.fromkeys(("ctr", "cvr", "order_value"), weight))
        for head in ("ctr", "cvr", "order_value", "gmv"):
            np.testing.assert_allclose(heads[head], alone[head], rtol=1e-9)


def test_an_opinion_that_speaks_against_what_happens_has_no_weight(made):
    data, _, better, _ = made
    contrary = {"ctr": 1 - better["ctr"], "cvr": better["cvr"], "order_value": better["order_value"]}
    assert fit_weights(contrary, better, data)["ctr"] == 1.0
    guess = np.random.default_rng(2).uniform(0.01, 0.99, len(better["ctr"]))
    assert fit_weights(better, {**better, "ctr": guess}, data)["ctr"] == 0.0  # what adds nothing is left out whole


def test_too_few_events_leave_the_weights_equal():
    made = market(np.random.default_rng(1), requests=10)
    heads = composed({"ctr": made.ctr, "cvr": made.cvr, "order_value": made.mean_value})
    assert fit_weights(heads, heads, made.data) == dict.fromkeys(("ctr", "cvr", "order_value"), EQUAL)
