"""Every shipped policy against hand arithmetic on small slates."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shipped_heads import HEAD_POLICIES

from value_model.formula import PolicyError, evaluate, in_currency, shipped_policies, shipped_policy
from value_model.formula.quantities import Sign


def logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def logit(p: float) -> float:
    return math.log(p / (1 - p))


# A z-score of [0.02, 0.06, 0.04] by hand: mean 0.04, standard deviation sqrt((0.02^2 + 0.02^2 + 0) / 3).
Z = 0.02 / math.sqrt(2 * 0.02**2 / 3)

CASES: dict[str, tuple[dict[str, list[float]], list[float]]] = {
    "default": (
        {
            "ctr": [0.05, 0.0],
            "ctcvr": [0.002, 0.0],
            "gmv": [0.3, 0.0],
            "commission_rate": [0.1, 0.1],
            "quality": [0.9, 1.0],
            "newness": [0.5, 1.0],
        },
        [
            0.14 * 0.05 + 4 * 0.002 + 0.05 * 0.3 + 1.0 * (0.1 * 0.3 + 0.004 * 0.9 + 0.003 * 0.5),
            0.004 + 0.003,
        ],
    ),
    "purchases": (
        {"ctcvr": [0.002], "gmv": [0.3], "commission_rate": [0.1], "quality": [0.9], "newness": [0.5]},
        [4 * 0.002 + 0.05 * 0.3 + 1.0 * (0.1 * 0.3 + 0.004 * 0.9 + 0.003 * 0.5)],
    ),
    "clicks": (
        {"ctr": [0.05], "quality": [0.9], "newness": [0.5]},
        [0.14 * 0.05 + 1.0 * (0.004 * 0.9 + 0.003 * 0.5)],
    ),
    "cold_start": (
        {"retrieval_score": [-3.0, 2.0, -9.0], "quality": [0.5, 0.0, 0.0], "newness": [0.0, 0.0, 1.0]},
        [0.02 / (1 + 1 / 10) + 0.004 * 0.5, 0.02, 0.02 / (1 + 2 / 10) + 0.003],
    ),
    "two_sided": (
        {"ctr": [0.5, 0.1], "cart": [0.1, 0.0], "hide": [0.01, 0.05], "report": [0.0, 0.01]},
        [
            0.5 + 4 * 0.1 - 10 * 0.01 + 0.1,
            (0.1 - 10 * 0.05 - 50 * 0.01 + 60) / 65 * 0.1,
        ],
    ),
    "funnel_additive": (
        {"ctr": [0.1], "cart_rate": [0.2], "cvr": [0.05]},
        [0.1 * (1 + 2 * 0.2 + 30 * 0.05)],
    ),
    "shifted_powers": (
        {"ctr": [0.05, 0.0], "ctcvr": [0.002, 0.002], "quality": [0.44, 0.44]},
        [2 * 2**1.5 * 1.2, 2**1.5 * 1.2],
    ),
    "funnel_power": ({"ctr": [0.1], "cvr": [0.05], "price": [400.0]}, [0.1 * 0.05**0.8 * 20]),
    "ads_organic": (
        {"ctr": [0.04, 0.05], "cvr": [0.0, 0.02], "bid": [2.0, 0.0], "price": [100.0, 300.0]},
        [0.04 * 2, 0.05 * 0.05 * 0.02 * 300],
    ),
    "rank_fusion": (
        {"ctr": [0.1, 0.3, 0.2], "ctcvr": [0.02, 0.01, 0.02], "gmv": [1.0, 5.0, 9.0]},
        [
            1 / (3 + 60) + 2 / (1 + 60) + 1 / (3 + 60),
            1 / (1 + 60) + 2 / (3 + 60) + 1 / (2 + 60),
            1 / (2 + 60) + 2 / (1 + 60) + 1 / (1 + 60),
        ],
    ),
    "normalised_heads": (
        {"ctr": [0.02, 0.06, 0.04], "ctcvr": [0.001, 0.001, 0.001], "gmv": [1.0, 2.0, 5.0]},
        [-Z, Z + 0.5 * 0.25, 0.5],
    ),
    "calibrated_utility": (
        {"ctr": [0.1], "cvr": [0.03], "order_value": [200.0]},
        [logistic(1.1 * logit(0.1) - 0.2) * (0.14 + 0.03 * (4 + 0.05 * 200))],
    ),
    "expected_margin": (
        {"return_rate": [0.1], "refusal_rate": [0.2], "commission_rate": [0.15], "gmv": [2.0], "ctcvr": [0.01]},
        [0.15 * 2 * 0.72 - 18 * 0.01 * 0.28 + 0.02 * 2 * 0.72],
    ),
    "owner_decay": (
        # Merchant 1 has nets .02, .03 and -.02 (k = 1, 0, 2); merchant 2 has .01 (k = 0).
        {
            "ctr": [2 / 14, 3 / 14, 0.0, 1 / 14],
            "gmv": [0.0, 0.0, 0.0, 0.0],
            "return_rate": [0.0, 0.0, 1.0, 0.0],
            "merchant": [1.0, 1.0, 1.0, 2.0],
        },
        [0.02 * (0.75 * 0.5 + 0.25), 0.03, -0.02, 0.01],
    ),
    "clipped_rate_penalty": (
        {"return_rate": [0.05, 0.3, 0.9], "refusal_rate": [0.15, 0.25, 1.0], "ctr": [0.1] * 3, "gmv": [1.0] * 3},
        [0.064, 0.064 - 0.05 * 0.2 - 0.08 * 0.1, 0.064 - 0.05 * 0.3 - 0.08 * 0.3],
    ),
    "slate_gate": (
        # The mean click rate is .05: the gate stands at .04.
        {"ctr": [0.03, 0.05, 0.07], "gmv": [0.0] * 3, "newness": [1.0, 0.5, 1.0]},
        [0.14 * 0.03, 0.14 * 0.05 + 0.005, 0.14 * 0.07 + 0.01],
    ),
    "exploration_bonus": (
        {"ctr": [0.1, 0.1, 0.1], "gmv": [1.0, 1.0, 1.0], "impressions": [math.nan, 99.0, 900.0]},
        [0.064 + 0.005 * math.sqrt(math.log(1000) / n) for n in (1, 100, 901)],
    ),
    "heavy_ranker_2023": (
        {
            "favourite": [0.1],
            "repost": [0.02],
            "reply": [0.01],
            "profile_click": [0.005],
            "video_half": [0.3],
            "reply_engaged": [0.002],
            "good_click": [0.03],
            "good_click_2": [0.02],
            "negative_feedback": [0.001],
            "report": [0.0001],
        },
        [
            0.5 * 0.1 + 1 * 0.02 + 13.5 * 0.01 + 12 * 0.005 + 0.005 * 0.3
            + 75 * 0.002 + 11 * 0.03 + 10 * 0.02 - 74 * 0.001 - 369 * 0.0001
        ],
    ),
}  # fmt: skip


def test_every_shipped_policy_has_its_hand_arithmetic() -> None:
    assert set(CASES) == set(shipped_policies()) - HEAD_POLICIES


@pytest.mark.parametrize("name", CASES)
def test_hand_arithmetic(name: str) -> None:
    columns, expected = CASES[name]
    value = evaluate(shipped_policy(name), {column: np.array(numbers) for column, numbers in columns.items()})
    np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-15)


MONOTONE = sorted(set(shipped_policies()) - {"owner_decay", "slate_gate", "normalised_heads", "rank_fusion"})


@given(st.sampled_from(MONOTONE), st.data())
@settings(max_examples=150, deadline=None)
def test_more_of_a_good_thing_never_lowers_a_value_and_touches_no_other_item(name: str, data: st.DataObject) -> None:
    policy = shipped_policy(name)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    columns = {q: rng.uniform(policy.quantity[q].low, policy.quantity[q].high, 4) for q in policy.inputs}
    signed = [q for q in policy.inputs if policy.quantity[q].sign is not Sign.ANY]
    quantity = policy.quantity[data.draw(st.sampled_from(signed))]
    more = columns[quantity.name].copy()
    more[0] = rng.uniform(more[0], quantity.high)
    before, after = evaluate(policy, columns), evaluate(policy, columns | {quantity.name: more})
    gain = (after - before)[0] * (1 if quantity.sign is Sign.PLUS else -1)
    assert gain >= -1e-12 * abs(before[0])
    np.testing.assert_array_equal(after[1:], before[1:])


def test_a_policy_that_is_not_shipped_is_refused_by_name() -> None:
    with pytest.raises(FileNotFoundError, match="rank_fusion"):
        shipped_policy("rank")


def test_a_formula_that_drops_units_is_not_converted() -> None:
    with pytest.raises(PolicyError, match="number"):
        in_currency(shipped_policy("ads_organic"), "USD", rate=0.267)
