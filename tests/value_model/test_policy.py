"""Greedy and Plackett-Luce: order, exact propensities, agreement with sampling."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from value_model.slate_policies.plackett_luce import PlackettLuce, list_propensity
from value_model.slate_policies.slate_policy import Greedy, best


@given(st.lists(st.integers(-3, 3) | st.just(float("nan")), max_size=30), st.integers(0, 35))
@settings(deadline=None)
def test_greedy_is_a_stable_sort_with_the_unknown_last(values: list[float], k: int) -> None:
    chosen = Greedy().choose(np.array(values, float), k=k)
    falling = sorted(
        range(len(values)), key=lambda i: (np.isnan(values[i]), -values[i] if values[i] == values[i] else 0)
    )
    assert chosen.order.tolist() == falling[:k]
    assert chosen.propensity.tolist() == [1.0] * min(k, len(values))


@pytest.mark.slow
def test_plackett_luce_draws_every_list_as_often_as_it_says() -> None:
    values, policy, rng = np.array([0.3, 0.1, 0.0, -0.2]), PlackettLuce(0.2), np.random.default_rng(0)
    draws = 40_000
    counts: dict[tuple[int, ...], int] = {}
    for _ in range(draws):
        chosen = policy.choose(values, k=2, rng=rng)
        key = tuple(chosen.order.tolist())
        counts[key] = counts.get(key, 0) + 1
    for pair in itertools.permutations(range(4), 2):
        probability = list_propensity(values / 0.2, np.array(pair)).prod()
        assert counts.get(pair, 0) / draws == pytest.approx(probability, abs=4 * np.sqrt(probability / draws) + 1e-4)


def test_the_probabilities_of_all_lists_sum_to_one() -> None:
    utility = np.array([900.0, 2.0, -700.0, 0.0, 1.0])
    total = sum(list_propensity(utility, np.array(pair)).prod() for pair in itertools.permutations(range(5), 3))
    assert total == pytest.approx(1.0, abs=1e-12)


def test_peaked_odds_neither_vanish_nor_cancel() -> None:
    propensity = list_propensity(np.array([0.0, -2000.0, -2001.0]), np.array([0, 1, 2]))
    assert propensity == pytest.approx([1.0, 1 / (1 + np.exp(-1)), 1.0])


def test_lower_temperature_comes_closer_to_greedy() -> None:
    values = np.linspace(1, 0, 20)
    greedy = Greedy().choose(values, k=5).order

    def agreement(temperature: float) -> float:
        rng = np.random.default_rng(1)
        draws = [PlackettLuce(temperature).choose(values, k=5, rng=rng).order for _ in range(200)]
        return float(np.mean([np.isin(draw, greedy).mean() for draw in draws]))

    assert agreement(0.001) == 1.0
    assert agreement(0.001) > agreement(0.1) > agreement(10.0)


def test_edges() -> None:
    rng = np.random.default_rng(0)
    for policy in (Greedy(), PlackettLuce(1.0)):
        assert policy.choose(np.empty(0), k=3, rng=rng).order.tolist() == []
        assert sorted(policy.choose(np.array([1.0, np.nan]), k=5, rng=rng).order.tolist()) == [0, 1]
    assert PlackettLuce(1.0).choose(np.array([np.nan, 1.0]), k=1, rng=rng).order.tolist() == [1]
    with pytest.raises(ValueError, match="above 0"):
        PlackettLuce(0.0)
    assert best(np.zeros(5), 0).tolist() == []
