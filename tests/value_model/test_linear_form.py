"""Formulas multiplied out: the same values from one matrix product, and None where a formula is not linear."""

import numpy as np
import pytest

from value_model.formula import default_policy, evaluate, shipped_policies, shipped_policy
from value_model.formula.linear_form import linear_form

NOT_LINEAR = {
    "ads_organic",  # exponents are weights
    "calibrated_utility",
    "clipped_rate_penalty",  # tolerances are weights inside clip
    "funnel_power",
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
    np.testing.assert_allclose(together, expected, rtol=1e-12)


def test_the_default_has_one_feature_a_term_and_coefficients_of_products() -> None:
    form = linear_form(default_policy())
    assert form is not None
    weights = {name: np.array([2.0]) for name in default_policy().weight}
    # click, order, gmv, then merchant value's commission, quality and newness times w_merchant
    assert form.at(weights).tolist() == [[2.0, 2.0, 2.0, 2.0, 4.0, 4.0]]
