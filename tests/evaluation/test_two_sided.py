"""Planted effects and spillovers of a two-sided design are told apart, with errors that hold both ways."""

import numpy as np
import pytest

from evaluation.experiments.two_sided import two_sided


def market(rng, *, both=0.0, shopper_spill=0.0, merchant_spill=0.0, shoppers=120, merchants=60):
    """Every shopper visits a fifth of the merchants; both sides have tastes of their own."""
    shopper, merchant = np.nonzero(rng.random((shoppers, merchants)) < 0.2)
    one, other = rng.integers(0, 2, shoppers)[shopper], rng.integers(0, 2, merchants)[merchant]
    taste = rng.normal(0, 1, shoppers)[shopper] + rng.normal(0, 1, merchants)[merchant]
    effect = both * one * other + shopper_spill * one * (1 - other) + merchant_spill * (1 - one) * other
    orders = 5 + taste + effect + rng.normal(0, 1, len(shopper))
    sides = {"shopper": shopper, "merchant": merchant, "shopper_arm": one, "merchant_arm": other}
    return orders, np.ones(len(orders)), sides


def test_spillovers_are_told_from_effects():
    rng, values = np.random.default_rng(9), []
    for _ in range(100):
        orders, visits, sides = market(rng, both=1.0, shopper_spill=-0.5, merchant_spill=0.25)
        found = two_sided(orders, visits, **sides)
        values.append([float(found[name].value) for name in ("both", "shoppers", "merchants", "together")])
    assert np.mean(values, axis=0) == pytest.approx([1.0, -0.5, 0.25, 1.25], abs=0.1)


def test_intervals_hold_both_ways_where_those_of_rows_do_not():
    rng, held, naive = np.random.default_rng(10), 0, 0
    for _ in range(100):
        orders, visits, sides = market(rng)
        one = two_sided(orders, visits, **sides)["both"]
        estimate = one.fixed()
        held += estimate.low <= 0 <= estimate.high
        kind = 2 * sides["shopper_arm"] + sides["merchant_arm"]
        alone = np.sqrt(sum(orders[kind == at].var() / (kind == at).sum() for at in (0, 3)))
        naive += abs(float(one.value)) < 1.96 * alone
    assert held / 100 >= 0.92
    assert naive / 100 < 0.75


def test_a_side_of_one_is_missing():
    orders, visits, sides = market(np.random.default_rng(0), merchants=1)
    assert "fewer than 2 shoppers or merchants" in str(two_sided(orders, visits, **sides)["both"].fixed())
