"""Search as it is served: what answers the words comes first, whatever it is worth; the log says how well."""

from dataclasses import replace
from datetime import timedelta
from itertools import count

import numpy as np
import pytest

from features.backfill import backfill
from features.lexical_features import NAMES
from jobs.searches import report_searches, search_counts
from marketplace.catalogue_records import CatalogueUpdate, Subject
from marketplace.memory_log import MemoryLog
from marketplace.schema import MATCH_KEY, QUERY_WORDS_KEY, RELEVANCE, RELEVANCE_GRADES, TIER
from marketplace.slate import slates_to_table
from marketplace.sqlite_log import SqliteLog
from retrieval.retriever import Quota
from retrieval.surfaces import SurfaceRecipes
from serving.bundle import build_engine
from serving.replay import replay
from serving.request import Request
from serving.skew import slate_skew
from value_model.formula import default_policy
from value_model.slate_policies.plackett_luce import PlackettLuce
from value_model.tuning.recorded_exposure import recorded_exposure

NUMBERS = count()


@pytest.fixture(scope="module")
def engine(bundle):
    return build_engine(bundle, log=MemoryLog())


def searched(engine, market, text, **changes):
    time = market.known_until + timedelta(minutes=1)
    name = f"{text} {next(NUMBERS)}"
    plain = {"request_id": name, "time": time, "surface": "search", "user_id": "nobody", "k": 10}
    return engine.rank(Request(**(plain | {"query": text} | changes))).slate


def shown(slate):
    return np.argsort(np.where(slate.position > 0, slate.position, np.inf), kind="stable")[: (slate.position > 0).sum()]


def in_stock(market):
    names, stock = (market.dataset.items[column].to_pylist() for column in ("name", "in_stock"))
    ids = market.dataset.items["item_id"].to_pylist()
    return [(ids[row], name) for row, name in enumerate(names) if stock[row]]


def test_the_exact_name_of_an_item_finds_it_first(engine, market):
    for item, name in in_stock(market)[:60]:
        slate = searched(engine, market, name.upper())
        first = shown(slate)[0]
        assert slate.numeric[RELEVANCE][first] == RELEVANCE_GRADES["name"]
        assert item in slate.item_id[slate.numeric[RELEVANCE] == RELEVANCE_GRADES["name"]]
        assert slate.match == "all"


@pytest.mark.parametrize("text", ["perfume", "عطر", "Smart", "laptop black"])
def test_relevance_before_value(engine, market, text):
    slate = searched(engine, market, text)
    grades = slate.numeric[RELEVANCE][shown(slate)]
    assert len(grades)
    assert (np.diff(grades) <= 0).all()
    assert (slate.numeric[RELEVANCE] > 0).all()
    for grade in np.unique(grades):
        assert (np.diff(slate.value[shown(slate)][grades == grade]) <= 0).all()
    assert slate.propensity[shown(slate)] == pytest.approx(1.0)


def test_what_matches_nothing_is_a_marked_fallback(engine, market):
    slate = searched(engine, market, "zzzz qqqq")
    assert slate.match == "none"
    assert len(shown(slate)) == 10
    assert not slate.numeric[RELEVANCE].any()
    assert slate.context[QUERY_WORDS_KEY] == "zzzz qqqq"
    assert searched(engine, market, "smart zzzz").match == "part"


def test_the_log_has_the_normal_form_and_other_surfaces_nothing_of_it(engine, market):
    assert searched(engine, market, "  العِطْر، SMART ").context[QUERY_WORDS_KEY] == "العطر smart"
    home = engine.rank(
        Request("home", market.known_until + timedelta(minutes=1), "home", "nobody", context={MATCH_KEY: "all"})
    )
    assert home.slate.match is None
    assert QUERY_WORDS_KEY not in home.slate.context
    assert RELEVANCE not in home.slate.numeric


def test_a_callers_candidates_that_do_not_answer_come_last(engine, market):
    of_name = in_stock(market)
    wanted, others = of_name[3], [item for item, name in of_name[40:60] if name != of_name[3][1]]
    slate = searched(engine, market, wanted[1], candidates=(*others, wanted[0]))
    assert slate.item_id[shown(slate)[0]] == wanted[0]


def test_explored_searches_stay_within_the_tier_and_replay_to_the_same_bits(bundle, market):
    policy = replace(bundle.policy, slate=replace(default_policy().slate, exploration=PlackettLuce(1.0)))
    bundle = replace(bundle, policy=policy)
    engine = build_engine(bundle, log=MemoryLog())
    for number in range(5):
        slate = searched(engine, market, "perfume smart", request_id=f"explored {number}")
        if number == 3:  # what a policy read of a catalogue that moves is in the slate
            moved = {"attributes": {"brand": "another"}}
            name = slate.item_id[shown(slate)[0]]
            engine.put_catalogue(Subject.ITEM, [CatalogueUpdate(name, moved, 1)], time=market.known_until)
        grades = slate.numeric[RELEVANCE][shown(slate)]
        assert (np.diff(grades) <= 0).all()
        assert 0 < slate.propensity[shown(slate)].min() < 1
        again = replay(engine.parts, replace(slate, policy_version=engine.parts.versions["policy"]))
        assert again.same, again.differs
        tier, looks = slate.numeric[TIER][None], np.ones((1, len(slate.position)))
        drawn = recorded_exposure(slates_to_table([slate]), looks > 0, looks, rng=np.random.default_rng(0), tier=tier)
        assert drawn is not None


def test_what_found_nothing_is_counted_by_its_normal_form(bundle, market, tmp_path, capsys):
    log = SqliteLog(tmp_path / "log.sqlite")
    engine = build_engine(bundle, log=log)
    for text in ("ZZZZ", "zzzz", "Zzz-zz", "perfume", "perfume xqxq"):
        searched(engine, market, text)
    log.close()
    counts = search_counts(SqliteLog(tmp_path / "log.sqlite").slates())
    assert counts["none"] == {"zzzz": 2, "zzz zz": 1}
    assert counts["all"] == {"perfume": 1}
    assert counts["part"] == {"perfume xqxq": 1}
    report_searches(tmp_path / "log.sqlite", most=1)
    printed = capsys.readouterr().out
    assert "zzzz" in printed
    assert "60.0%" in printed


def test_lexical_features_are_the_same_in_training_in_serving_and_when_checked_for_skew(engine, market):
    slate = searched(engine, market, "perfume smart")
    table = slates_to_table([slate])
    trained = backfill(market.dataset, table, spec=engine.spec).columns
    assert set(NAMES) <= set(slate.numeric)
    for name in NAMES:
        np.testing.assert_array_equal(trained[name].to_numpy(zero_copy_only=False), slate.numeric[name])
        assert slate_skew(slate, engine.store)[name].mismatched == 0
    assert np.nanmax(slate.numeric["lexical_coverage"]) == 1
    home = engine.rank(Request("calm", market.known_until + timedelta(minutes=1), "home", "nobody")).slate
    assert np.isnan(home.numeric["lexical_score"]).all()


def test_sources_are_those_of_the_recipe(trained):
    assert isinstance(SurfaceRecipes.alike({"lexical": Quota(300, 200)})["search"].sources["lexical"], Quota)
    assert "lexical" in [source.name for source in trained.sources]
