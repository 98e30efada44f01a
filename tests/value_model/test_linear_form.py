"""Formulas multiplied out give values, or their logarithms, by one matrix product; None where neither is linear."""

import numpy as np
import pytest

from value_model.formula import default_policy, evaluate, parse_policy, shipped_policies, shipped_policy
from value_model.formula.linear_form import linear_form

NOT_LINEAR = {
    "ads_organic",  # a sum of powers
    "calibrated_utility",
    "cold_start",  # a rank in the slate
    "clipped_rate_penalty",  # tolerances are weights inside clip
    "owner_decay",
    "rank_fusion",
    "shifted_powers",
    "slate_gate",
    "two_sided",
}


@pytest.mark.parametrize("name", shipped_policies())
def test_weightings_by_one_product_equal_one_evaluation_each(name: str) -> None:
    policy = shipped_policy(name)
    form = linear_form(policy)
    assert (form is None) == (name in NOT_LINEAR)
    if form is None:
        return
    rng = np.random.default_rng(0)
    columns = {column: rng.random((6, 9)) for column in policy.inputs}
    weights = {w.name: rng.uniform(w.low, w.high, 5) for w in policy.weights}
    together = np.tensordot(form.at(weights), form.of(columns), axes=1)
    expected = evaluate(policy, columns, weights={n: w[:, None, None] for n, w in weights.items()})
    assert form.logarithm == (name == "funnel_power")
    expected = np.log(expected) if form.logarithm else expected
    np.testing.assert_allclose(together, expected, rtol=1e-12)


def test_the_default_has_one_feature_a_term_and_coefficients_of_products() -> None:
    form = linear_form(default_policy())
    assert form is not None
    weights = {name: np.array([2.0]) for name in default_policy().weight}
    # click, order, gmv, then merchant value's commission, quality and newness times w_merchant
    assert form.at(weights).tolist() == [[2.0, 2.0, 2.0, 2.0, 4.0, 4.0]]


def test_the_logarithm_of_a_product_of_powers_and_quotients() -> None:
    source = b"""
name = "powers"
owner = "test"
reason = "Factors of every kind."
currency = "SAR"
unit = "1"
[expressions]
funnel = "(g * ctr ** a * quality) ** 2 / cvr ** b"
value = "funnel / number(price) ** (a + 1)"
[weights]
a = { value = 1, unit = "1", low = 0, high = 2, reason = "test" }
b = { value = 1, unit = "1", low = 0, high = 2, reason = "test" }
g = { value = 1, unit = "1", low = 0, high = 2, reason = "test" }
"""
    form = linear_form(parse_policy(source, file="powers.toml"))
    assert form is not None
    assert form.logarithm
    columns = {"ctr": np.array([0.5]), "quality": np.array([3.0]), "cvr": np.array([0.2]), "price": np.array([7.0])}
    weights = {"a": np.array([1.5]), "b": np.array([0.7]), "g": np.array([2.0])}
    value = (2.0 * 0.5**1.5 * 3.0) ** 2 / 0.2**0.7 / 7.0**2.5
    np.testing.assert_allclose(np.exp(form.at(weights) @ form.of(columns)), [[value]], rtol=1e-12)
