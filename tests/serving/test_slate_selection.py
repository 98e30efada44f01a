from dataclasses import replace
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
from test_engine import DRAWN, RULED, ask, with_slate

from marketplace.memory_log import MemoryLog
from serving.answers import slate_answer
from serving.bundle import build_engine
from serving.replay import replay
from serving.slate_selection import SlateContext
from value_model.formula import parse_policy, to_toml
from value_model.slate_policies.diversity import DPP, MMR
from value_model.slate_policies.epsilon_greedy import EpsilonGreedy
from value_model.slate_policies.limits import earliest
from value_model.slate_policies.plackett_luce import PlackettLuce
from value_model.slate_policies.rules import MerchantCap, Newcomers, Unheeded
from value_model.slate_policies.slate_policy import ItemAttributes
from value_model.slate_policies.slate_section import SlateSection


def shown(slate):
    return np.argsort(slate.position, kind="stable")[(slate.position == 0).sum() :]


def engine_of(bundle, section, *, shortlist=100):
    return build_engine(with_slate(bundle, section, shortlist=shortlist), log=MemoryLog())


@pytest.mark.parametrize("kind", [MMR, DPP])
def test_a_policys_caps_diversity_and_draws_are_served_with_the_propensities_they_have(bundle, market, kind):
    section = replace(RULED, diversity=kind(RULED.diversity.strength, RULED.diversity.similarity))
    engine = engine_of(bundle, section)
    seen = set()
    for number in range(8):
        slate = engine.rank(ask(market, request_id=f"{number}")).slate
        order = shown(slate)
        context = SlateContext(10, slate.time, slate.surface)
        attributes = engine.parts.slate_selector.attributes(
            engine.parts.item_table.rows(slate.item_id), context=context
        )
        policy = engine.parts.slate_selector.policy(context)
        expected = policy.propensity(slate.value, order, k=10, attributes=attributes)
        assert slate.propensity[order] == pytest.approx(expected, rel=1e-9)
        assert (slate.propensity[order] < 1).any()
        assert np.bincount(attributes["merchant"][order]).max() <= 2
        assert np.bincount(attributes["category"][order]).max() <= 3
        seen.add(tuple(slate.item_id[order]))
    assert len(seen) > 1


def test_a_quota_of_newcomers_counts_merchants_who_joined_lately(bundle, market):
    joined = dict(zip(*(market.dataset.merchants[name].to_pylist() for name in ("merchant_id", "joined")), strict=True))

    def newcomers(slate):
        ages = [slate.time - (joined[name] or slate.time - timedelta(days=999)) for name in slate.merchant_id]
        return np.array([timedelta(0) <= age < timedelta(days=90) for age in ages])

    plain = engine_of(bundle, None).rank(ask(market)).slate
    at_hand = int(newcomers(plain).sum())
    least = int(newcomers(plain)[shown(plain)].sum()) + 1
    assert at_hand >= least, "the market has too few newcomers for this test"
    slate = engine_of(bundle, SlateSection((Newcomers(least),))).rank(ask(market)).slate
    assert newcomers(slate)[shown(slate)].sum() == least


def test_the_shortlist_holds_the_best_values_and_the_answer_says_how_many_were_scored(bundle, market):
    whole = engine_of(bundle, None).rank(ask(market)).slate
    ranking = engine_of(bundle, None, shortlist=25).rank(ask(market))
    slate = ranking.slate
    best = np.sort(np.argsort(-whole.value, kind="stable")[:25])
    assert len(slate) == 25
    assert slate.item_id.tolist() == whole.item_id[best].tolist()
    assert np.array_equal(slate.value, whole.value[best])
    assert slate.item_id[shown(slate)].tolist() == whole.item_id[shown(whole)].tolist()
    assert slate.considered == whole.considered == len(whole) == 60
    answer = slate_answer(ranking, contributions=None)
    assert answer["considered"] == 60
    assert len(answer["items"]) == 10


def test_the_shortlist_is_at_least_twice_as_long_as_the_slate(bundle, market):
    assert len(engine_of(bundle, None, shortlist=1).rank(ask(market, k=12)).slate) == 24


def test_rules_that_the_best_alone_cannot_keep_look_at_every_candidate(bundle, market):
    caps = SlateSection((MerchantCap(1),))
    slate = engine_of(bundle, caps, shortlist=20).rank(ask(market)).slate
    merchants = slate.merchant_id[shown(slate)]
    assert len(set(merchants)) == len(merchants) == 10
    assert len(slate) in (20, 60)
    impossible = engine_of(bundle, SlateSection((MerchantCap(1), Newcomers(10))), shortlist=20).rank(ask(market)).slate
    assert len(impossible) == 60


def test_a_formula_that_compares_items_keeps_every_candidate(bundle, market):
    text = to_toml(bundle.policy).replace("w_gmv * gmv", "w_gmv * (gmv - slate_mean(gmv))")
    relative = replace(bundle, policy=parse_policy(text))
    engine = engine_of(relative, DRAWN, shortlist=20)
    slate = engine.rank(ask(market)).slate
    assert relative.policy.slate_relative
    assert len(slate) == 60
    assert replay(engine.parts, slate).same


def test_a_merchant_cap_does_not_empty_a_store_page(bundle, market):
    with_cap = engine_of(bundle, SlateSection((MerchantCap(2),))).rank(ask(market, "store_page")).slate
    without = engine_of(bundle, None).rank(ask(market, "store_page")).slate
    assert shown(with_cap).tolist() == shown(without).tolist()
    assert len(shown(with_cap)) > 2


def test_a_store_page_is_its_items_in_each_shoppers_own_order(bundle, market):
    users, engine = list(dict.fromkeys(market.dataset.feedback["user_id"].to_pylist())), engine_of(bundle, None)
    slates = [
        engine.rank(ask(market, "store_page", request_id=user, user_id=user, k=40)).slate
        for user in (users[0], users[9])
    ]
    lists = [slate.item_id[shown(slate)].tolist() for slate in slates]
    assert sorted(lists[0]) == sorted(lists[1])
    assert lists[0] != lists[1]
    assert all((np.diff(slate.value[shown(slate)]) <= 0).all() for slate in slates)


def test_home_shows_last_what_it_showed_before_and_the_shopper_left(bundle, market):
    drawn = SlateSection((Unheeded(2),), exploration=PlackettLuce(0.5 * DRAWN.exploration.temperature))
    engine, left, hour = engine_of(bundle, drawn), [], timedelta(hours=1)
    event = market.dataset.feedback.slice(0, 1).to_pylist()[0]
    for number in range(4):
        time = market.known_until + number * hour
        slate = engine.rank(ask(market, request_id=f"{number}", time=time)).slate
        order, names = shown(slate), slate.item_id[shown(slate)].tolist()
        since = dict(zip(slate.item_id.tolist(), slate.numeric["lists_since"].tolist(), strict=True))
        for ago, page in enumerate(reversed(left), start=1):
            newer = {item for later in left[len(left) - ago + 1 :] for item in later}
            assert {since[item] for item in page if item in since and item not in newer} <= {ago}
        assert not {item for page in left[-2:] for item in page} & set(names)
        assert replay(engine.parts, slate).same
        context = SlateContext(10, time, "home", lists_since=slate.numeric["lists_since"])
        policy, columns = engine.parts.slate_selector.policy(context), {"lists_since": slate.numeric["lists_since"]}
        expected = policy.propensity(slate.value, order, k=10, attributes=ItemAttributes(columns))
        assert slate.propensity[order] == pytest.approx(expected, rel=1e-9)
        clicked = event | {"feedback_id": f"{number}", "event": "click", "item_id": names[0], "time": time + hour / 2}
        clicked |= {"user_id": slate.user_id, "request_id": None, "session_id": None, "amount": None}
        engine.record(pa.Table.from_pylist([clicked], schema=market.dataset.feedback.schema))
        left.append(names[1:])
    assert "lists_since" not in engine.rank(ask(market, "product_page")).slate.numeric


def test_a_draw_outside_the_shortlist_never_happens(bundle, market):
    wide = replace(DRAWN, exploration=EpsilonGreedy(1.0))
    engine = engine_of(bundle, wide, shortlist=20)
    slates = [engine.rank(ask(market, request_id=f"{number}", k=1)).slate for number in range(60)]
    assert all(slate.propensity[shown(slate)] == pytest.approx(1 / 20) for slate in slates)
    assert len({slate.item_id[shown(slate)][0] for slate in slates}) > 10


def test_earliest_keeps_the_first_of_every_code():
    assert earliest(np.array([3, 1, 3, 3, 1, 2]), 2).tolist() == [True, True, True, False, True, True]
    assert earliest(np.array([], np.int32), 2).tolist() == []
