"""Nothing that is not finite is answered or logged."""

import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from test_engine import ask

from marketplace.memory_log import MemoryLog
from serving.answers import slate_answer
from serving.bundle import build_engine
from serving.manifest import BundleError
from serving.replay import replay
from serving.rungs import POPULARITY, rung_of
from serving.soundness import NotFinite, finite_candidates
from serving.trial_requests import try_out
from value_model.formula import parse_policy

CLICKS = """
name = "clicks"
owner = "test"
reason = "clicks alone"
currency = "SAR"
unit = "SAR / impression"
[expressions]
value = "w * ctr"
[weights.w]
value = 1.0
unit = "SAR / click"
low = 0.0
high = 2.0
reason = "test"
"""


class Damaged:
    """The bundle's scorer, whose click-through rate of catalogue rows for which `broken` holds is NaN."""

    def __init__(self, scorer, broken):
        self._scorer, self._broken, self.heads = scorer, broken, scorer.heads

    def score(self, inputs, *, items=None):
        heads = dict(self._scorer.score(inputs, items=items))
        return heads | {"ctr": np.where(self._broken(items), np.nan, heads["ctr"])}


def damaged(bundle, broken):
    whole = build_engine(bundle, log=MemoryLog())
    return build_engine(bundle, log=MemoryLog(), scorer=Damaged(whole.parts.scorer, broken))


def test_candidates_without_a_finite_value_are_left_out_and_named(bundle, market, caplog):
    engine = damaged(bundle, lambda items: items % 2 == 0)
    with caplog.at_level(logging.WARNING):
        ranking = engine.rank(ask(market))
    rows = engine.parts.item_table.rows(ranking.slate.item_id)
    assert (rows % 2 == 1).all()
    assert (ranking.slate.position > 0).sum() == 10
    assert ranking.slate.considered == len(rows) + ranking.left_out > len(rows)
    assert "ctr, ctcvr, gmv, value, merchant_value of" in caplog.text
    assert "r home" in caplog.text
    assert engine.log.slate("r home") == ranking.slate
    assert replay(build_engine(bundle, log=MemoryLog()).parts, ranking.slate).same


def test_where_no_candidate_has_one_no_ranking_is_shown_but_a_plain_list(bundle, market):
    engine = damaged(bundle, lambda items: items >= 0)
    with pytest.raises(NotFinite, match=r"'r home': ctr, .* of 60 of 60 candidates is not finite"):
        engine.preview(ask(market))
    assert len(engine.log.slates()) == 0
    assert rung_of(engine.rank(ask(market)).slate) == POPULARITY


def test_a_bundle_whose_trial_requests_are_answered_badly_does_not_take_over(bundle, market):
    users = market.dataset.users["user_id"].slice(0, 2).to_pylist()
    whole = build_engine(bundle, log=MemoryLog())
    try_out(whole, users=users)
    assert len(whole.log.slates()) == 0
    with pytest.raises(BundleError, match=r"'home of nobody.*': \d+ of \d+ candidates have heads or values"):
        try_out(damaged(bundle, lambda items: items % 2 == 0), users=users)
    with pytest.raises(BundleError, match="fails with NotFinite"):
        try_out(damaged(bundle, lambda items: items >= 0), users=users)

    class Constant(Damaged):
        def score(self, inputs, *, items=None):
            return {name: np.full(len(inputs.request), 0.5) for name in self.heads}

    policy = replace(bundle, policy=parse_policy(CLICKS))
    with pytest.raises(BundleError, match="every candidate of every trial request has the same value"):
        try_out(build_engine(policy, log=MemoryLog(), scorer=Constant(whole.parts.scorer, None)), users=users)


@pytest.mark.parametrize("time", ["1970-01-01", "years before", "2199-12-31"])
def test_a_request_of_any_time_gets_finite_numbers(bundle, market, time):
    before = market.known_until - timedelta(days=900)
    when = before if time == "years before" else datetime.fromisoformat(time).replace(tzinfo=UTC)
    engine = build_engine(bundle, log=MemoryLog())
    for surface in ("home", "search"):
        ranking = engine.rank(ask(market, surface, time=when))
        answer = slate_answer(ranking, contributions=engine.explain(ranking.slate))
        for item in answer["items"]:
            numbers = [item["value"], item["merchant_value"], item["retrieval_score"], item["price"]]
            assert np.isfinite([*numbers, *item["predictions"].values(), *item["contributions"].values()]).all()
        assert (ranking.slate.numeric["age_days"][np.isfinite(ranking.slate.numeric["age_days"])] >= 0).all()


def test_large_numbers_are_finite():
    columns = {"value": np.array([1e300, 1.0]), "score": np.array([1.0, 3e38], np.float32)}
    kept = finite_candidates(columns, np.arange(2), item_id=np.array(["a", "b"], object), request_id="r")
    assert kept.tolist() == [0, 1]
