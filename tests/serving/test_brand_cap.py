"""A cap per brand, from the policy file to the served slate."""

from collections import Counter
from dataclasses import replace

import pytest
from test_engine import ask, with_slate

from marketplace.memory_log import MemoryLog
from serving.bundle import build_engine
from serving.manifest import BundleError
from serving.replay import replay
from value_model.formula import PolicyError, parse_policy, to_toml


def engine_of(bundle, section):
    policy = parse_policy(to_toml(replace(bundle.policy, slate=None)) + f"\n[slate]\n{section}\n")
    return build_engine(with_slate(bundle, policy.slate), log=MemoryLog())


def test_no_brand_stands_more_often_than_its_cap(bundle, market):
    items = market.dataset.items
    attributes = map(dict, items["attributes"].to_pylist())
    brand = {item: row["brand"] for item, row in zip(items["item_id"].to_pylist(), attributes, strict=True)}

    def brands(engine):
        slate = engine.rank(ask(market, k=20)).slate
        assert replay(engine.parts, slate).same
        return Counter(brand[item] for item in slate.item_id[slate.position > 0]), {
            brand[item] for item in slate.item_id
        }

    free, _ = brands(engine_of(bundle, ""))
    capped, candidates = brands(engine_of(bundle, "caps = { brand = 1 }"))
    assert max(free.values()) > 1
    assert max(capped.values()) == 1
    assert sum(capped.values()) == min(20, len(candidates))


def test_a_cap_of_what_the_catalogue_does_not_tell_is_refused(bundle):
    with pytest.raises(BundleError, match=r"reads flavour of items.* brand"):
        engine_of(bundle, "caps = { flavour = 1 }")
    for entry in ("2", "{ merchant = 2 }", "{ brand = 0 }"):
        with pytest.raises(PolicyError, match=r"slate\.caps"):
            engine_of(bundle, f"caps = {entry}")
