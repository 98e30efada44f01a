"""Merchants' exposure through the service: promises are kept, and prices are a function of the log."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from test_engine import ask, with_slate

from marketplace.attribution import attribute
from marketplace.memory_log import MemoryLog
from marketplace.slate import table_to_slates
from marketplace.sqlite_log import SqliteLog
from serving.bundle import build_engine
from serving.manifest import BundleError
from serving.replay import replay
from value_model.slate_policies.plackett_luce import PlackettLuce
from value_model.slate_policies.shadow_prices import ExposurePromises
from value_model.slate_policies.slate_policy import finite
from value_model.slate_policies.slate_section import SlateSection
from value_model.tuning import evidence_from_log

LUCE = PlackettLuce(0.05)


def engine_of(bundle, section, *, log=None):
    """An engine that knows of every slate before it answers the next request."""
    ruled = with_slate(bundle, section)
    ruled = replace(ruled, config=replace(ruled.config, follow_seconds=0.0))
    return build_engine(ruled, log=MemoryLog() if log is None else log)


def requests(market, count, *, surface="home"):
    users = sorted(set(market.dataset.feedback["user_id"].to_pylist()))
    rng = np.random.default_rng(5)
    for number in range(count):
        user, time = users[rng.integers(len(users))], market.known_until + timedelta(seconds=number)
        yield ask(market, surface, request_id=f"{surface} {number}", user_id=user, time=time)


def share(slates, merchant):
    return np.mean([(slate.merchant_id[slate.position > 0] == merchant).mean() for slate in slates])


def prices(engine):
    """By merchant id."""
    shelf = engine.parts.item_table
    return dict(zip(shelf.merchant_id, engine.pacing.price(np.arange(len(shelf))).tolist(), strict=True))


@pytest.fixture(scope="module")
def neglected(bundle, market):
    """A merchant who is at hand in most slates and whom greedy ranking hardly shows."""
    engine = engine_of(bundle, None)
    slates = [engine.rank(request).slate for request in requests(market, 60)]
    at_hand = {name: np.mean([name in slate.merchant_id for slate in slates]) for name in set(slates[0].merchant_id)}
    return next(name for name in sorted(at_hand) if at_hand[name] > 0.9 and share(slates, name) < 0.01)


@pytest.mark.slow
def test_a_guaranteed_share_is_reached_that_greedy_ranking_misses(bundle, market, neglected):
    promise = ExposurePromises(rate=0.1, highest_price=1.0, guaranteed=((neglected, 0.1),))
    engine = engine_of(bundle, SlateSection(exposure=promise))
    slates = [engine.rank(request).slate for request in requests(market, 250)]
    assert share(slates[:5], neglected) < 0.05
    assert share(slates[100:], neglected) == pytest.approx(0.1, abs=0.01)
    last = slates[-1]
    price = last.numeric["shadow_price"]
    assert set(last.merchant_id[price > 0]) == {neglected}
    columns = engine.parts.valuation.columns(last)
    plain = engine_of(bundle, None).parts.valuation.value(columns, surface="home", segment=None, seed=0)
    assert np.array_equal(last.value, plain.value)
    shown = np.argsort(last.position)[-10:]
    assert shown.tolist() == np.argsort(-(last.value + price), kind="stable")[:10].tolist()


def test_a_promise_stops_at_the_highest_price(bundle, market, neglected):
    promise = ExposurePromises(rate=0.1, highest_price=0.1, guaranteed=((neglected, 0.5),))
    engine = engine_of(bundle, SlateSection(exposure=promise))
    slates = [engine.rank(request).slate for request in requests(market, 20)]
    assert prices(engine)[neglected] == np.float32(0.1)
    assert share(slates[10:], neglected) < 0.25


@pytest.mark.slow
def test_fair_exposure_comes_nearer_to_merit(bundle, market):
    """The merit of a merchant is its share of the candidates' positive values; each is owed 80 % of it."""

    def shortfall(section):
        engine = engine_of(bundle, section)
        slates = [engine.rank(request).slate for request in requests(market, 400)][200:]
        merchants = sorted(set(market.dataset.merchants["merchant_id"].to_pylist()))
        exposure = np.array([share(slates, name) for name in merchants])
        weights = [np.maximum(slate.value, 0) / np.maximum(slate.value, 0).sum() for slate in slates]
        merit = [
            np.mean([w[slate.merchant_id == name].sum() for w, slate in zip(weights, slates, strict=True)])
            for name in merchants
        ]
        return np.maximum(0.8 * np.array(merit) - exposure, 0).sum()

    fair = SlateSection(exposure=ExposurePromises(rate=0.1, highest_price=1.0, fair=0.8))
    assert shortfall(fair) < 0.4 * shortfall(None)


def test_two_workers_agree_on_prices_and_one_that_starts_again_has_them(bundle, market, neglected, tmp_path):
    path = tmp_path / "log.sqlite"
    promise = ExposurePromises(rate=0.1, highest_price=1.0, guaranteed=((neglected, 0.1),), fair=0.5)
    section = SlateSection(exposure=promise)
    workers = [engine_of(bundle, section, log=SqliteLog(path)) for _ in range(2)]
    for number, request in enumerate(requests(market, 60)):
        workers[(number // 3) % 2].rank(request)
    for worker in workers:
        worker.record(worker.log.feedback())  # reads what the other recorded
    mine, theirs = map(prices, workers)
    assert mine == theirs == prices(engine_of(bundle, section, log=SqliteLog(path)))
    assert sum(price > 0 for price in mine.values()) > 5
    assert mine == pytest.approx(by_hand(workers[0].log.slates(), promise, mine.keys()), rel=1e-6)


def by_hand(slates, promise, merchants):
    """p <- clip(p + rate (g - e), 0, highest) slate by slate, in plain Python."""
    price = dict.fromkeys(merchants, 0.0)
    for slate in table_to_slates(slates):
        merit = dict.fromkeys(merchants, 0.0)
        for name, value in zip(slate.merchant_id, slate.value, strict=True):
            merit[name] += max(value, 0.0)
        on_page = [name for name, position in zip(slate.merchant_id, slate.position, strict=True) if position > 0]
        for name in merchants:
            fair = promise.fair * merit[name] / sum(merit.values())
            promised = max(dict(promise.guaranteed).get(name, 0.0), fair)
            missed = promised - on_page.count(name) / len(on_page)
            price[name] = min(max(price[name] + promise.rate * missed, 0.0), promise.highest_price)
    return price


def test_store_pages_and_other_policies_slates_teach_nothing(bundle, market, neglected):
    log = MemoryLog()
    others = [engine_of(bundle, None, log=log).rank(request).slate for request in requests(market, 5)]
    promise = ExposurePromises(rate=0.1, highest_price=1.0, guaranteed=((neglected, 0.1),))
    section = SlateSection(exposure=promise)
    manifest = replace(bundle.manifest, versions={**bundle.manifest.versions, "policy": "paced"})
    engine = engine_of(replace(bundle, manifest=manifest), section, log=log)
    for request in requests(market, 3, surface="store_page"):
        engine.rank(request)
    engine.record(log.feedback())
    assert len(others) == 5
    assert set(prices(engine).values()) == {0.0}
    for request in requests(market, 1, surface="search"):
        engine.rank(request)
    engine.record(log.feedback())
    assert prices(engine)[neglected] == pytest.approx(0.01)


def test_prices_and_draws_together_keep_exact_propensities(bundle, market, neglected):
    """Prices are fixed before the draw: anyone can recompute the propensities, replay the slate, and learn from it."""
    promise = ExposurePromises(rate=0.1, highest_price=1.0, guaranteed=((neglected, 0.1),))
    engine = engine_of(bundle, SlateSection(exploration=LUCE, exposure=promise))
    for request in requests(market, 60):
        engine.rank(request)
    fresh = engine_of(bundle, SlateSection(exploration=LUCE, exposure=promise))
    for slate in table_to_slates(engine.log.slates()):
        shown = np.argsort(slate.position, kind="stable")[-10:]
        expected = PlackettLuce(0.05).propensity(finite(slate.value + slate.numeric["shadow_price"]), shown)
        assert slate.propensity[shown] == pytest.approx(expected, rel=1e-12)
        assert replay(fresh.parts, slate).same
    joined = attribute(engine.log.slates(), engine.log.feedback())
    policy, curves = engine.parts.valuation.policy, {"home": np.ones(10)}
    settings = {"examination": curves, "rng": np.random.default_rng(1)}
    evidence = evidence_from_log(joined.slates, joined.labels, policy, **settings)
    paid = np.array([slate.numeric["shadow_price"].max() for slate in table_to_slates(joined.slates)])
    assert (paid > 0.1).any()
    assert evidence.exposure.sum(axis=1) == pytest.approx(10)


def test_a_guarantee_to_nobody_is_refused(bundle):
    promise = ExposurePromises(rate=0.1, highest_price=1.0, guaranteed=(("m0001", 0.1), ("gone", 0.1)))
    with pytest.raises(BundleError, match=r"guarantees exposure to \['gone'\]"):
        engine_of(bundle, SlateSection(exposure=promise))
