"""Laws of every slate rule: it holds in any order of candidates, the shortlist's check is true, TOML keeps it."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from value_model.formula import default_policy, parse_policy, to_toml
from value_model.slate_policies.plackett_luce import PlackettLuce
from value_model.slate_policies.rules import RULES
from value_model.slate_policies.sequential import SequentialSlate
from value_model.slate_policies.slate_policy import ItemAttributes
from value_model.slate_policies.slate_rule import enough

N, K = 24, 6
each_rule = pytest.mark.parametrize("kind", RULES, ids=lambda kind: kind.__name__)


def rule_of(kind):
    (rule,) = parse_policy(to_toml(replace(default_policy(), slate=None)) + f"\n[slate]\n{kind.example}\n").slate.rules
    return rule


def attributes_of(rule, rng, n):
    """Few codes of everything that the rule reads."""
    kinds = ("newcomer", "new_item")
    return ItemAttributes({x: rng.random(n) < 0.3 if x in kinds else rng.integers(0, 4, n) for x in rule.reads})


def taken(attributes, rows):
    return ItemAttributes({name: column[rows] for name, column in attributes.columns.items()})


@each_rule
def test_toml_and_back_is_the_same_rule(kind):
    rule = rule_of(kind)
    assert isinstance(rule, kind)
    assert kind.from_toml(rule.to_toml()) == rule
    policy = parse_policy(to_toml(replace(default_policy(), slate=None)) + f"\n[slate]\n{kind.example}\n")
    assert parse_policy(to_toml(policy)) == policy
    assert policy.version != default_policy().version


@each_rule
def test_a_slate_never_breaks_the_rule_and_enough_candidates_fill_it(kind):
    rule, rng = rule_of(kind), np.random.default_rng(0)
    for n in (0, 1, 3, N) * 10:
        attributes = attributes_of(rule, rng, n)
        slate = SequentialSlate(PlackettLuce(1.0), (rule,)).choose(
            rng.normal(size=n), k=K, rng=rng, attributes=attributes
        )
        fills = enough((rule,), attributes, n=n, k=K)
        assert not fills or len(slate.order) == K
        if fills:
            assert enough((rule,), taken(attributes, slate.order), n=K, k=K)


@each_rule
def test_the_order_of_candidates_does_not_matter(kind):
    rule, rng = rule_of(kind), np.random.default_rng(1)
    attributes, values, shuffle = attributes_of(rule, rng, N), rng.normal(size=N), rng.permutation(N)
    policy = SequentialSlate(rules=(rule,))
    original = policy.choose(values, k=K, rng=rng, attributes=attributes)
    reordered = np.argsort(shuffle)[original.order]
    again = policy.propensity(values[shuffle], reordered, k=K, attributes=taken(attributes, shuffle))
    np.testing.assert_allclose(again, original.propensity)


@each_rule
def test_the_probabilities_of_all_slates_sum_to_one(kind):
    rule, rng = rule_of(kind), np.random.default_rng(2)
    attributes, values = attributes_of(rule, rng, 5), rng.normal(size=5)
    policy = SequentialSlate(PlackettLuce(1.0), (rule,))
    drawn = [policy.choose(values, k=3, rng=rng, attributes=attributes).order for _ in range(50)]
    if {len(order) for order in drawn} == {3}:
        slates = (np.array(slate) for slate in itertools.permutations(range(5), 3))
        total = sum(policy.propensity(values, slate, k=3, attributes=attributes).prod() for slate in slates)
        assert total == pytest.approx(1.0, abs=1e-9)
