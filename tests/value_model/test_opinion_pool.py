"""The opinion pool: what its weights are, where they come from, and how it reads at their ends."""

from __future__ import annotations

import numpy as np
import pytest
from ranking_market import market, sigmoid

from marketplace.heads import composed
from value_model.rankers.calibration import log_odds
from value_model.rankers.opinion_pool import fit_weights, pooled


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
    weights = fit_weights({"worse": worse, "better": better}, data)
    turned = fit_weights({"better": better, "worse": worse}, data)
    for head in ("ctr", "cvr", "order_value"):  # errors of 1 and .5 weigh 1 / 1 to 1 / .25
        assert 0.65 < weights[head]["better"] < 0.95
        assert turned[head] == pytest.approx(weights[head], abs=1e-6)


def test_the_pool_of_errors_is_closer_to_the_truth_than_any_of_them(made):
    data, truth, better, worse = made
    third = opinion(np.random.default_rng(3), truth, noise=0.7)
    opinions = {"worse": worse, "better": better, "third": third}
    weights = fit_weights(opinions, data)
    heads = pooled(opinions, weights=weights)
    for head in ("ctr", "cvr", "order_value"):
        expected = np.log(truth[head])
        errors = [np.std(np.log(one[head]) - expected) for one in (heads, *opinions.values())]
        assert errors[0] < min(errors[1:])
        assert weights[head]["better"] > weights[head]["third"] > weights[head]["worse"] > 0
        assert sum(weights[head].values()) == pytest.approx(1)
    np.testing.assert_allclose(heads["gmv"], heads["ctr"] * heads["cvr"] * heads["order_value"])


def test_a_weight_of_1_is_one_opinion_alone(made):
    _, _, network, trees = made
    opinions = {"network": network, "trees": trees}
    for name, alone in opinions.items():
        shares = {other: float(other == name) for other in opinions}
        heads = pooled(opinions, weights=dict.fromkeys(("ctr", "cvr", "order_value"), shares))
        for head in ("ctr", "cvr", "order_value", "gmv"):
            np.testing.assert_allclose(heads[head], alone[head], rtol=1e-9)


def test_an_opinion_that_speaks_against_what_happens_has_no_weight(made):
    data, _, better, worse = made
    contrary = {"ctr": 1 - better["ctr"], "cvr": 1 - better["cvr"], "order_value": better["order_value"]}
    weights = fit_weights({"contrary": contrary, "better": better, "worse": worse}, data)
    two = fit_weights({"better": better, "worse": worse}, data)
    for head in ("ctr", "cvr"):  # what is left out leaves the others as if they were alone
        assert weights[head] == pytest.approx({"contrary": 0, **two[head]}, abs=1e-6)
    guess = np.random.default_rng(2).uniform(0.01, 0.99, len(better["ctr"]))
    beside = fit_weights({"better": better, "guess": {**better, "ctr": guess}}, data)
    assert beside["ctr"] == {"better": 1, "guess": 0}  # what adds nothing is left out whole


def test_too_few_events_leave_the_weights_equal():
    made = market(np.random.default_rng(1), requests=10)
    heads = composed({"ctr": made.ctr, "cvr": made.cvr, "order_value": made.mean_value})
    weights = fit_weights({"one": heads, "other": heads}, made.data)
    assert list(weights.values()) == 3 * [{"one": 0.5, "other": 0.5}]
