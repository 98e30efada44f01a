"""Contributions: exact sums for sums, Shapley's axioms for everything else, weights as money."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from value_model.formula import default_policy, evaluate, evaluate_all, parse_policy
from value_model.formula.explain import Method, explain
from value_model.formula.weights_in_money import weights_in_money

WEIGHTS = "".join(f'[weights.w{i}]\nvalue = {i}.5\nunit = "1"\nlow = -99\nhigh = 99\nreason = "r"\n' for i in range(4))
HEADER = 'name = "t"\nowner = "o"\nreason = "r"\ncurrency = "SAR"\nunit = "1"\n'
QUANTITIES = "".join(f'[quantities.{q}]\nunit = "1"\nlow = 0\nhigh = 10\n' for q in ("x", "y"))


def policy_of(formula: str):
    blocks = ["[" + block for block in WEIGHTS.split("[") if block]
    used = "".join(block for block in blocks if block[9:11] in formula)
    return parse_policy(f'{HEADER}[expressions]\nvalue = "{formula}"\n{QUANTITIES}{used}')


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_the_contributions_of_a_sum_add_up_to_the_last_bit(seed: int) -> None:
    policy, rng = default_policy(), np.random.default_rng(seed)
    columns = {name: rng.lognormal(sigma=4, size=40) for name in policy.inputs}
    weights = policy.weights_for(surface="search")
    explained = explain(policy, columns, weights=weights)
    total = np.zeros(40)
    total = explained.contributions[0]
    for contribution in explained.contributions[1:]:
        total = total + contribution
    np.testing.assert_array_equal(total, evaluate(policy, columns, weights=weights))
    np.testing.assert_array_equal(explained.value, total)
    assert explained.method is Method.ADDITIVE
    assert explained.labels == ("ctr", "ctcvr", "gmv", "merchant_value")


def test_merchant_value_is_explained_by_its_own_terms() -> None:
    policy = default_policy()
    columns = {name: np.full(3, 0.5) for name in policy.inputs}
    explained = explain(policy, columns, expression="merchant_value")
    assert explained.labels == ("commission", "quality_worth", "new_merchant_boost")
    np.testing.assert_array_equal(explained.value, evaluate_all(policy, columns)["merchant_value"])


def test_shapley_shares_of_a_product_match_hand_arithmetic() -> None:
    policy = policy_of("(1 + w1 * x) * (1 + w2 * y)")
    explained = explain(policy, {"x": np.array([2.0]), "y": np.array([3.0])})
    a, b = 1.5 * 2, 2.5 * 3
    assert explained.method is Method.SHAPLEY
    assert explained.contributions[:, 0] == pytest.approx([a + a * b / 2, b + a * b / 2])
    assert explained.baseline == pytest.approx([1.0])
    assert explained.value == pytest.approx([(1 + a) * (1 + b)])


@pytest.mark.parametrize(
    "formula", ["x ** w1 * y ** w2", "max(w1 * x, w2 * y) * exp(-w3 * x)", "sigmoid(w1 * x - w2 * y) * slate_rank(x)"]
)
def test_shares_sum_to_value_less_baseline(formula: str) -> None:
    policy, rng = policy_of(formula), np.random.default_rng(3)
    columns = {"x": rng.random((4, 6)), "y": rng.random((4, 6))}
    explained = explain(policy, columns)
    np.testing.assert_allclose(
        explained.contributions.sum(axis=0), explained.value - explained.baseline, rtol=1e-12, atol=1e-12
    )
    np.testing.assert_array_equal(explained.value, evaluate(policy, columns))


def test_a_weight_that_changes_nothing_has_no_share() -> None:
    policy = policy_of("(1 + w1 * x) * (1 + w2 * 0 * y)")
    explained = explain(policy, {"x": np.ones(5), "y": np.ones(5)})
    assert explained.contributions[1].tolist() == [0.0] * 5


def test_shape_parameters_are_not_switched_off() -> None:
    policy = policy_of("w1 * x ** w2")
    weights = tuple(dataclasses.replace(w, term=w.name != "w2") for w in policy.weights)
    explained = explain(dataclasses.replace(policy, weights=weights), {"x": np.array([4.0]), "y": np.ones(1)})
    assert explained.labels == ("w1",)
    assert explained.contributions == pytest.approx(np.array([[1.5 * 4**2.5]]))


def test_many_weights_get_ablation_shares_that_sum() -> None:
    weights = "".join(
        f'[weights.v{i}]\nvalue = 0.{i + 1}\nunit = "1"\nlow = 0\nhigh = 9\nreason = "r"\n' for i in range(9)
    )
    weights += "".join(
        f'[weights.u{i}]\nvalue = 0.{i + 1}\nunit = "1"\nlow = 0\nhigh = 9\nreason = "r"\n' for i in range(5)
    )
    names = [f"v{i}" for i in range(9)] + [f"u{i}" for i in range(5)]
    formula = "x * (" + " + ".join(f"{name} * y" for name in names) + ")"
    policy = parse_policy(f'{HEADER}[expressions]\nvalue = "{formula}"\n{QUANTITIES}{weights}')
    explained = explain(policy, {"x": np.array([2.0]), "y": np.array([3.0])})
    assert explained.method is Method.ABLATION
    assert explained.contributions[0] == pytest.approx([2 * 3 * 0.1])
    assert explained.contributions.sum() == pytest.approx(explained.value[0])


def test_weights_are_shown_as_money() -> None:
    sentences = weights_in_money(default_policy())
    assert sentences["w_click"] == "one click is worth SAR 0.14"
    assert sentences["w_order"] == "one order is worth SAR 4"
    assert sentences["w_gmv"] == "SAR 1 of gmv is worth SAR 0.05"
    assert sentences["w_quality"] == "one impression at full quality is worth SAR 0.004"
    assert weights_in_money(default_policy(), surface="store_page")["w_merchant"].endswith("SAR 0")
