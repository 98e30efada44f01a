"""Sweeps equal one evaluation and one stable sort for every weighting."""

import numpy as np
import pytest
from tuning_toy import POLICY, market

from value_model.formula import ValuePolicy, evaluate, shipped_policy
from value_model.slate_policies.perturbed_weights import PerturbedWeights
from value_model.tuning.exposure import of_order, of_perturbed, of_plackett_luce
from value_model.tuning.sweep import Sweep

LINEAR, OTHERS = ("default", "expected_margin"), ("two_sided", "funnel_power", "rank_fusion", "owner_decay")


def slates(policy: ValuePolicy, rng: np.random.Generator, *, rows: int = 40, width: int = 23, least: float = 0.0):
    mask = np.arange(width) < rng.integers(3, width + 1, rows)[:, None]
    columns = {}
    for name in policy.inputs:
        low, high = policy.quantity[name].low, min(policy.quantity[name].high, 50.0)
        columns[name] = least + np.round(rng.uniform(low, high, (rows, width)), 1)  # rounded: with ties
    return columns, mask


def weightings(policy: ValuePolicy, rng: np.random.Generator, *, count: int = 9) -> dict[str, np.ndarray]:
    return {w.name: np.clip(w.value * np.exp(rng.normal(0, 1, count)), w.low, w.high) for w in policy.weights}


@pytest.mark.parametrize("name", [*LINEAR, *OTHERS])
def test_the_top_is_that_of_a_stable_sort(name: str) -> None:
    policy, rng = shipped_policy(name), np.random.default_rng(0)
    columns, mask = slates(policy, rng)
    weights = weightings(policy, rng)
    sweep = Sweep(policy, columns, mask=mask, threads=2)
    assert sweep.linear == (name in LINEAR)
    top = sweep.top(weights, k=7)
    for i in range(9):
        value = evaluate(policy, columns, weights={n: w[i] for n, w in weights.items()}, mask=mask)
        worth = np.where(mask & np.isfinite(value), value, -np.inf)
        shown = np.arange(7) < mask.sum(axis=1)[:, None]
        # Compared by value: where two differ by rounding only, both orders are right.
        ranked = np.take_along_axis(worth, top[i].astype(int), axis=1)
        expected = -np.sort(-worth, axis=1)[:, :7]
        np.testing.assert_allclose(ranked[shown], expected[shown], rtol=1e-11, atol=1e-13)


def test_products_of_powers_are_ranked_by_their_logarithm_where_it_exists() -> None:
    policy, rng = shipped_policy("funnel_power"), np.random.default_rng(3)
    columns, mask = slates(policy, rng, least=0.1)
    weights = weightings(policy, rng)
    sweep = Sweep(policy, columns, mask=mask)
    assert sweep.linear
    expected = evaluate(policy, columns, weights={n: w[:, None, None] for n, w in weights.items()}, mask=mask)
    np.testing.assert_array_equal(sweep.values(weights)[:, mask], expected[:, mask])
    top = sweep.top(weights, k=3).astype(int)
    best = -np.sort(-np.where(mask, expected, -np.inf), axis=2)[:, :, :3]
    np.testing.assert_allclose(np.take_along_axis(expected, top, axis=2), best, rtol=1e-11)


@pytest.mark.parametrize("name", ["default", "funnel_power", "rank_fusion"])
def test_what_is_added_ranks_with_the_value(name: str) -> None:
    policy, rng = shipped_policy(name), np.random.default_rng(4)
    columns, mask = slates(policy, rng, least=0.1)
    weights, price = weightings(policy, rng), rng.exponential(3.0, mask.shape)
    top = Sweep(policy, columns, mask=mask, added=price).top(weights, k=3).astype(int)
    value = evaluate(policy, columns, weights={n: w[:, None, None] for n, w in weights.items()}, mask=mask) + price
    best = -np.sort(-np.where(mask, value, -np.inf), axis=2)[:, :, :3]
    np.testing.assert_allclose(np.take_along_axis(value, top, axis=2), best, rtol=1e-11)


def test_equal_values_keep_their_order_and_negative_ones_too() -> None:
    value = np.array([[0.0, 2.0, 2.0, -1.0, -1.0, 0.0, -3.0, 2.0]])
    sweep = Sweep(POLICY, {"ctr": value, "gmv": 0 * value, "newness": 0 * value}, mask=np.ones((1, 8), bool))
    for sign, order in ((1.0, [1, 2, 7, 0, 5, 3, 4, 6]), (-1.0, [6, 3, 4, 0, 5, 1, 2, 7])):
        weights = {"w_click": np.array([sign]), "w_gmv": np.zeros(1), "w_new": np.zeros(1)}
        assert sweep.top(weights, k=8)[0, 0].tolist() == order


def test_weights_of_each_request_equal_one_sweep_for_each() -> None:
    rng = np.random.default_rng(1)
    policy = shipped_policy("default")
    columns, mask = slates(policy, rng)
    weights = weightings(policy, rng, count=2)
    sweep = Sweep(policy, columns, mask=mask)
    pick = rng.integers(0, 2, len(mask))
    both = sweep.top(weights, k=3)
    mixed = sweep.top({n: w[pick][None] for n, w in weights.items()}, k=3)[0]
    assert (mixed == both[pick, np.arange(len(mask))]).all()


def test_credit_is_examination_times_who_stands_there() -> None:
    rng = np.random.default_rng(2)
    truth = market(rng, requests=30)
    weights = weightings(POLICY, rng)
    sweep = Sweep(POLICY, truth.slates.columns, mask=truth.slates.mask)
    credits = rng.normal(size=(30, 12, 2))
    credited = sweep.credit(weights, examination=truth.examination, credits=credits)
    top = sweep.top(weights, k=5)
    expected = np.zeros((9, 30, 2))
    for w in range(9):
        for r in range(30):
            for place in range(5):
                expected[w, r] += truth.examination[r, place] * credits[r, top[w, r, place]]
    np.testing.assert_allclose(credited, expected, atol=1e-12)


@pytest.mark.parametrize("ahead", [0.0, 500.0])
def test_plackett_luce_exposure_is_that_of_many_draws(ahead: float) -> None:
    """However far one item is ahead, the others share the places after it by their own odds."""
    rng = np.random.default_rng(3)
    utility = rng.normal(0, 2, (6, 9))
    utility[:, 0] += ahead
    utility[:, 7:] = -np.inf
    examination = np.tile(np.arange(1, 5) ** -0.8, (6, 1))
    examination[3:, 2:] = 0
    drawn = np.argsort(-(utility + rng.gumbel(size=(20_000, 6, 9))), axis=2)[:, :, :4]
    expected = of_order(drawn, examination, width=9).mean(axis=0)
    exposure = of_plackett_luce(utility, examination, rng=rng, samples=4000)
    np.testing.assert_allclose(exposure.probability, expected, atol=0.02)
    np.testing.assert_allclose(exposure.probability.sum(axis=1), examination.sum(axis=1), rtol=1e-6)
    assert (exposure.probability[:, 7:] == 0).all()
    assert (exposure.probability[:, :7] > 0).all()


def test_exposure_under_perturbed_weights_is_the_mean_of_all_draws() -> None:
    truth = market(np.random.default_rng(4), requests=20)
    sweep = Sweep(POLICY, truth.slates.columns, mask=truth.slates.mask)
    design = PerturbedWeights(0.5, ("w_click", "w_gmv"))
    centre = POLICY.weights_for()
    exposure = of_perturbed(sweep, {n: np.full(20, w) for n, w in centre.items()}, design, truth.examination)
    expected = 0
    for draw in range(4):
        weights = {n: np.array([w]) for n, w in design.weights(centre, draw).items()}
        expected = expected + of_order(sweep.top(weights, k=5)[0], truth.examination, width=12) / 4
    np.testing.assert_allclose(exposure, expected, atol=1e-12)
