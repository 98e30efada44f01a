"""The degradation ladder: whatever fails of a ranking, the shopper gets a list; answer, log and metrics say which."""

import time
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pytest
from test_engine import ask as request_of

from evaluation.monitoring.day_log import day_log
from evaluation.monitoring.head_figures import head_figures
from features.store import StoreUnavailable
from marketplace.log import LogUnavailable
from marketplace.memory_log import MemoryLog
from marketplace.schema import SCORER_KEY, UNSCORED_KEY
from marketplace.slate import slates_to_table
from marketplace.slate_columns import predictions
from retrieval.labelled_requests import features_of
from serving.app import create_app
from serving.bundle import build_engine
from serving.candidate_budget import FEWEST, CandidateBudget
from serving.deadline import Deadline
from serving.ladder import Ladder, NotAnswerable
from serving.metrics import Metrics
from serving.prediction_cache import FADING, NothingCached, PredictionCache
from serving.replay import replay
from serving.rungs import CACHED, FEWER, POPULARITY, STATIC, rung_of
from serving.service import PolicyNotLoaded


class FailingScorer:
    """Follows `Scorer`: raises, or predicts numbers that are none."""

    def __init__(self, heads, *, error=None):
        self.heads, self._error, self.calls = heads, error, 0

    def score(self, inputs, *, items=None):
        self.calls += 1
        if self._error is not None:
            raise self._error
        return dict.fromkeys(self.heads, np.full(len(items), np.nan))


@pytest.fixture(scope="module")
def shared_engine(bundle):
    return build_engine(bundle, log=MemoryLog())


@pytest.fixture
def engine(shared_engine):
    """An engine as it was built, over one log."""
    before = {name: getattr(shared_engine, name) for name in ("parts", "_budget", "_ladder")}
    heads, n_items = shared_engine._ladder.cache.heads, len(shared_engine.parts.item_table)
    shared_engine._budget, shared_engine._ladder = CandidateBudget(), Ladder(PredictionCache(heads, n_items=n_items))
    yield shared_engine
    vars(shared_engine).update(before)


def ask(market, surface="home", **changes):
    """A request under an id of its own."""
    return request_of(market, surface, **{"request_id": uuid4().hex, **changes})


def broken(engine, error=None):
    """The engine's parts with a scorer that fails."""
    return replace(engine.parts, scorer=FailingScorer(engine.parts.scorer.heads, error=error))


def away(*_, **__):
    raise StoreUnavailable("the store is away")


def test_the_cache_holds_means_and_counts_an_unknown_item_as_the_least():
    cache = PredictionCache(("ctr", "cvr"), n_items=5)
    with pytest.raises(NothingCached):
        cache.of(np.array([0, 1]))
    cache.learn(np.array([3, 1]), {"ctr": np.array([0.5, 0.25]), "cvr": np.array([0.125, 0.75])})
    cache.learn(np.array([3]), {"ctr": np.array([1.0]), "cvr": np.array([0.125])})
    known = cache.of(np.array([1, 3, 0]))
    assert known["ctr"] == pytest.approx([0.25, 0.5 + FADING * 0.5, 0.25])
    assert known["cvr"] == pytest.approx([0.75, 0.125, 0.125])


@pytest.mark.parametrize("error", [RuntimeError("the graph"), None])
def test_where_the_scorer_fails_or_says_nan_what_it_said_before_stands_in(engine, market, error):
    before = engine.rank(ask(market)).slate
    sound, engine.parts = engine.parts, broken(engine, error)
    slate = engine.rank(ask(market)).slate
    assert slate.context[SCORER_KEY] == f"{CACHED}, {'NotFinite' if error is None else 'RuntimeError'}"
    both, first, second = np.intersect1d(before.item_id, slate.item_id, return_indices=True)
    assert len(both) > 10
    for head in engine._ladder.cache.heads:
        assert slate.predictions[head][second] == pytest.approx(before.predictions[head][first], rel=1e-6)
    np.testing.assert_allclose(sum(engine.explain(slate).values()), slate.value)
    assert replay(sound, slate).same
    kept = engine._ladder.cache.of(sound.item_table.rows(slate.item_id))  # it does not learn from itself
    for head, values in kept.items():
        np.testing.assert_array_equal(values, slate.predictions[head])


def test_a_model_that_fails_always_is_left_alone_and_tried_now_and_then(engine, market, caplog):
    for surface in ("home", "store_page"):
        engine.rank(ask(market, surface))
    now, counts = [0.0], Metrics()
    engine._ladder = Ladder(engine._ladder.cache, clock=lambda: now[0])
    sound, engine.parts = engine.parts, broken(engine, RuntimeError("the graph"))
    failed, rested = f"{CACHED}, RuntimeError", f"{CACHED}, resting after RuntimeError"

    def by(surface="home"):
        slate = engine.rank(ask(market, surface)).slate
        counts.observe_rung(slate)
        return slate.context.get(SCORER_KEY)

    assert [by() for _ in range(5)] == [failed] * 3 + [rested] * 2
    assert by("store_page") == failed
    now[0] = 1.0
    assert [by(), by()] == [failed, rested]
    now[0] = 2.9
    assert by() == rested  # for twice as long
    assert engine.parts.scorer.calls == 5
    engine.parts, now[0] = sound, 3.0
    assert [by(), by()] == [None, None]
    engine.parts = broken(engine)
    assert [by() for _ in range(4)] == [f"{CACHED}, NotFinite"] * 3 + [f"{CACHED}, resting after NotFinite"]
    assert "value_model_rankings_untried_total 5.0" in counts.render().decode()
    told = [record.levelname for record in caplog.records if "in full" in record.message]
    assert told == ["ERROR", "WARNING", "ERROR"]


def test_nothing_is_looked_up_again_for_a_cache_that_is_empty(engine, market, monkeypatch):
    lookups, lookup = [], engine.store.lookup
    monkeypatch.setattr(engine.store, "lookup", lambda *args, **options: lookups.append(1) or lookup(*args, **options))
    engine.parts = broken(engine)
    assert engine.rank(ask(market)).slate.context[SCORER_KEY] == f"{POPULARITY}, NotFinite"
    assert len(lookups) == 2  # the shopper and the candidates, once


def test_a_caller_whose_time_is_over_gets_cached_predictions_and_one_whose_time_is_short_fewer(engine, market):
    whole = engine.rank(ask(market)).slate
    late = engine.rank(ask(market), deadline=Deadline(time=0.0)).slate
    assert (late.context[SCORER_KEY], late.considered) == (f"{CACHED}, late", FEWEST)
    engine._budget._each = 1.0  # second a candidate
    slate = engine.rank(ask(market, k=5), deadline=Deadline(time=time.monotonic() + 5)).slate
    assert (rung_of(slate), slate.considered) == (FEWER, FEWEST)
    assert int(slate.context[UNSCORED_KEY]) == whole.considered - FEWEST
    assert np.count_nonzero(slate.position) == 5
    assert replay(engine.parts, slate).same
    ours = engine.rank(ask(market, candidates=tuple(whole.item_id)), deadline=Deadline(time=9e9))
    assert ours.slate.considered == len(whole)  # the caller's own are ranked all


def test_where_features_are_away_what_is_popular_and_may_be_shown_is_listed(engine, market, monkeypatch):
    monkeypatch.setattr(engine.store, "lookup", away)
    share = dict(zip(engine.parts.item_table.item_id, engine.parts.candidate_generator.popularity, strict=False))
    banned = tuple(sorted(share, key=share.get)[-3:])
    ranking = engine.rank(ask(market, exclude=banned))
    slate = ranking.slate
    stock = dict(zip(*(market.dataset.items[name].to_pylist() for name in ("item_id", "in_stock")), strict=True))
    open_ = [item for item in share if stock.get(item) and item not in banned]
    best = sorted(open_, key=lambda item: -share[item])[:10]
    assert [share[item] for item in slate.item_id] == [share[item] for item in best]
    assert slate.position.tolist() == list(range(1, 11))
    assert (slate.propensity == 1).all()
    assert slate.policy_version == POPULARITY
    assert engine.log.slate(slate.request_id) == slate
    second = engine.rank(ask(market, cursor=slate.request_id)).slate
    assert not set(second.item_id) & set(slate.item_id)
    page = engine.rank(ask(market, "store_page")).slate
    assert set(page.merchant_id) == {page.page_merchant_id}
    with pytest.raises(PolicyNotLoaded):
        engine.explain(slate)
    monkeypatch.undo()
    sound = engine.rank(ask(market)).slate
    none, nobody = market.dataset.feedback[:0], pa.array([], pa.string())
    day = day_log(slates_to_table([slate, sound]), none, slate.time, now=slate.time + timedelta(days=1), known=nobody)
    assert np.isfinite(predictions(day.slates, "ctr")).sum() == len(sound)
    assert not head_figures(day)
    frame = features_of(market.dataset, day.slates, market.spec)
    served = frame.columns["popularity"].to_numpy()[-len(sound) :]
    np.testing.assert_array_equal(served, sound.numeric["popularity"])


def test_candidates_of_a_caller_are_listed_by_popularity_at_their_prices_and_else_as_sent(engine, market, monkeypatch):
    monkeypatch.setattr(engine.store, "lookup", away)
    generator = engine.parts.candidate_generator
    names = tuple(engine.parts.item_table.item_id[[40, 30, 20, 10]])
    price = np.array([4.0, 3.0, np.nan, 1.0])
    request = ask(market, candidates=names, price=price, k=3)
    order = np.argsort(-generator.popularity[[40, 30, 20, 10]], kind="stable")[:3]
    slate = engine.rank(request).slate
    paid = np.where(np.isnan(price), engine.parts.item_table.price[[40, 30, 20, 10]], price)
    assert slate.item_id.tolist() == [names[place] for place in order]
    assert slate.price.tolist() == paid[order].tolist()
    monkeypatch.setitem(generator.__dict__, "popularity", None)
    listed = engine.rank(replace(request, request_id=uuid4().hex)).slate
    assert (rung_of(listed), listed.item_id.tolist()) == (STATIC, list(names[:3]))


def test_no_list_stands_in_for_a_log_that_cannot_be_written_and_none_left_is_said(engine, market, monkeypatch):
    def full(slate, *, catalogue=None):
        raise LogUnavailable("the disk is full")

    monkeypatch.setattr(engine.log, "append", full)
    with pytest.raises(LogUnavailable):
        engine.rank(ask(market))
    monkeypatch.setattr(engine.store, "lookup", away)
    monkeypatch.setattr(engine.parts.candidate_generator, "eligible", away)
    with pytest.raises(NotAnswerable, match="StoreUnavailable"):
        engine.rank(ask(market))


def test_the_answer_names_its_rung_and_metrics_count_it(engine, market, monkeypatch):
    client = create_app(engine, clock=lambda: market.known_until).test_client()
    monkeypatch.setattr(engine.store, "lookup", away)
    body = {"surface": "home", "user_id": "u", "k": 3, "explain": True}
    answer = client.post("/v1/recommend", json=body)
    assert (answer.status_code, answer.get_json()["rung"]) == (200, POPULARITY)
    assert 'value_model_rankings_total{rung="popularity"} 1.0' in client.get("/metrics").text
    reasons = [engine.rank(ask(market)).slate.context[SCORER_KEY] for _ in range(3)]
    assert reasons == [f"{POPULARITY}, {reason}StoreUnavailable" for reason in ("", "", "resting after ")]
