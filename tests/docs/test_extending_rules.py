"""The slate rule of docs/extending.md, from a policy file to a slate."""

import sys

import numpy as np
from recipes import blocks

from value_model.formula import default_policy, parse_policy, policy_file, slate_table, to_toml
from value_model.slate_policies import rules
from value_model.slate_policies.slate_policy import ItemAttributes


def test_the_rule_of_the_page_is_read_kept_and_written(monkeypatch):
    (block,) = blocks("A slate rule")
    names = dict(vars(rules))
    exec(block, names)  # noqa: S102 (the example of the page)
    rule = names["SeasonQuota"]
    monkeypatch.setattr(rules, "RULES", (*rules.RULES, rule))
    for reader in (slate_table, policy_file):  # made of RULES where they are imported: parse_policy does it anew
        monkeypatch.delitem(sys.modules, reader.__name__)
    policy = parse_policy(to_toml(default_policy()) + "\n[slate]\nseason_quota = 2\n")
    assert policy.slate.rules == (*default_policy().slate.rules, rule(2))
    assert parse_policy(to_toml(policy)) == policy
    seasons = ItemAttributes({"season": np.array([-1, -1, -1, 7, 8, 7])})
    slate = policy.slate.policy().choose(np.arange(6.0)[::-1], k=3, rng=np.random.default_rng(0), attributes=seasons)
    assert slate.order.tolist() == [0, 3, 4]
