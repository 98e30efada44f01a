"""The [slate] section: round basket, mistakes, and the slate policy that it stands for."""

import pytest

from value_model.formula import PolicyError, default_policy, in_currency, parse_policy, to_toml
from value_model.slate_policies.diversity import MMR, Similarity
from value_model.slate_policies.epsilon_greedy import EpsilonGreedy
from value_model.slate_policies.perturbed_weights import PerturbedWeights
from value_model.slate_policies.plackett_luce import PlackettLuce
from value_model.slate_policies.rules import MerchantCap, Newcomers
from value_model.slate_policies.sequential import SequentialSlate
from value_model.slate_policies.slate_policy import Greedy
from value_model.slate_policies.slate_section import SlateSection

FULL = """
[slate]
merchant_cap = 2
newcomers = 3
diversity = { kind = "mmr", strength = 0.01, merchant = 0.6, category = 0.4 }
exploration = { kind = "plackett_luce", temperature = 0.002 }
exposure = { guaranteed = { "m12" = 0.05, "shop \\"b\\".eu" = 0.1 }, fair = 0.8, rate = 0.001, highest_price = 0.02 }
"""


def with_slate(section: str):
    return parse_policy(to_toml(default_policy()) + section, file="p.toml")


def test_the_section_survives_the_round_trip_and_counts_for_the_version() -> None:
    policy = with_slate(FULL)
    assert parse_policy(to_toml(policy)) == policy
    assert policy.version != default_policy().version
    for old, new in (("0.002", "0.003"), ("0.05", "0.06"), ("fair = 0.8", "fair = 0.7"), ("0.001", "0.0015")):
        assert with_slate(FULL.replace(old, new)).version != policy.version
    assert policy.slate.exposure.guaranteed == (("m12", 0.05), ('shop "b".eu', 0.1))
    fair = with_slate("[slate]\nexposure = { fair = 1, rate = 0.001, highest_price = 0.02 }")
    assert parse_policy(to_toml(fair)) == fair
    perturbed = with_slate(
        '[slate]\nexploration = { kind = "perturbed_weights", sigma = 0.1, weights = ["w_click", "w_gmv"] }'
    )
    assert parse_policy(to_toml(perturbed)) == perturbed


def test_the_section_becomes_the_policy_that_it_describes() -> None:
    likeness = Similarity(merchant=0.6, category=0.4)
    expected = SequentialSlate(PlackettLuce(0.002), (MerchantCap(2), Newcomers(3)), MMR(0.01, likeness))
    assert with_slate(FULL).slate.policy() == expected
    assert SlateSection().policy() == Greedy()
    assert with_slate('[slate]\nexploration = { kind = "epsilon", epsilon = 0.1 }').slate.policy() == EpsilonGreedy(0.1)
    section = '[slate]\nexploration = { kind = "perturbed_weights", sigma = 0.1, weights = ["w_click"] }'
    assert with_slate(section).slate.perturbed_weights == PerturbedWeights(0.1, ("w_click",))
    assert with_slate(section).slate.policy() == Greedy()
    assert with_slate(FULL).slate.perturbed_weights is None


def test_amounts_in_the_values_unit_follow_the_currency() -> None:
    converted = in_currency(with_slate(FULL), "USD", rate=0.267)
    assert converted.slate.exploration.temperature == pytest.approx(0.002 * 0.267)
    assert converted.slate.diversity.strength == pytest.approx(0.01 * 0.267)
    assert converted.slate.exposure.rate == pytest.approx(0.001 * 0.267)
    assert converted.slate.exposure.highest_price == pytest.approx(0.02 * 0.267)
    assert converted.slate.exposure.guaranteed == with_slate(FULL).slate.exposure.guaranteed
    assert converted.slate.rules == (*default_policy().slate.rules, MerchantCap(2), Newcomers(3))


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("merchant_cap = 2", "merchant_cap = 0", "whole number, 1 or more"),
        ("merchant_cap = 2", "merchant_cap = 2.5", "whole number"),
        ("merchant_cap = 2", "merchants = 2", "unknown field 'merchants'"),
        ("merchant_cap = 2", "caps = { merchant = 2 }", "caps of their own"),
        ("merchant_cap = 2", "caps = { relevance = 2 }", "Write such as { brand = 2 }"),
        ("merchant_cap = 2", "caps = { lists_since = 2 }", "Write such as { brand = 2 }"),
        ("category = 0.4", "category = 0.5", "has merchant 0.6, category 0.5 and embedding 0"),
        ("merchant = 0.6, category = 0.4", "merchant = 1.4, category = -0.4", "parts of likeness of 0 or more"),
        ('kind = "mmr"', 'kind = "mmp"', "Write one of mmr, dpp"),
        ("temperature = 0.002", "temperature = 0", "above 0"),
        ("temperature = 0.002", "epsilon = 0.1", "slate.exploration.temperature is missing"),
        ('kind = "plackett_luce", temperature', 'kind = "epsilon", epsilon', ""),
        ("temperature = 0.002", 'temperature = 0.002, weights = ["w_click"]', "only perturbation"),
        (
            'kind = "plackett_luce", temperature = 0.002',
            'kind = "perturbed_weights", sigma = 0.1',
            "List at most 10 different weights among",
        ),
        (
            'kind = "plackett_luce", temperature = 0.002',
            'kind = "perturbed_weights", sigma = 0.1, weights = ["w_click", "w_click"]',
            "at most 10 different weights",
        ),
        (
            'kind = "plackett_luce", temperature = 0.002',
            'kind = "perturbed_weights", sigma = 0.1, weights = ["w_clik"]',
            "Did you mean 'w_click'?",
        ),
        ("temperature = 0.002", "temprature = 0.002, temperature = 0.002", "Did you mean 'temperature'?"),
        ("strength = 0.01", "strength = -1", "0 or more"),
        ('"m12" = 0.05', '"m12" = 0.15', "sum to 1.05"),
        ('"m12" = 0.05', '"m12" = -0.05', "shares of 0 or more"),
        ('"m12" = 0.05', '"m12" = "5 %"', "slate.exposure.guaranteed.m12 is '5 %'"),
        ('guaranteed = { "m12" = 0.05, "shop \\"b\\".eu" = 0.1 }, fair = 0.8, ', "", "sum to 0"),
        ('guaranteed = { "m12" = 0.05, "shop \\"b\\".eu" = 0.1 }', "guaranteed = 0.15", "Make it a table"),
        ("rate = 0.001, ", "", "slate.exposure.rate is missing"),
        ("highest_price = 0.02", "highest_price = 0", "highest_price 0. Fix: Write numbers above 0"),
        ("highest_price = 0.02", "most = 0.02", "unknown field 'most'"),
        ("diversity = {", "diversity = 3 # {", "Make it a table"),
    ],
)
def test_mistakes_in_the_section_are_named(old: str, new: str, reason: str) -> None:
    assert old in FULL
    if not reason:
        assert with_slate(FULL.replace(old, new)).slate.exploration == EpsilonGreedy(0.002)
        return
    with pytest.raises(PolicyError) as caught:
        with_slate(FULL.replace(old, new))
    assert reason in str(caught.value)
    above = to_toml(default_policy()) + FULL[: FULL.index(old)]
    assert {finding.where.line for finding in caught.value.findings} == {above.count("\n") + 1}
