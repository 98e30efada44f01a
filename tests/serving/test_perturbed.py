"""Perturbed weights through the service: what is drawn, what is logged, and what can be learned from it."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
from test_engine import ALL_SURFACES, RULED, ask, with_slate

from marketplace.attribution import attribute
from marketplace.memory_log import MemoryLog
from marketplace.schema import FEEDBACK, conform
from marketplace.slate import table_to_slates
from marketplace.slate_columns import context, to_numpy
from serving.bundle import build_engine
from serving.replay import replay
from value_model.formula import Override, evaluate
from value_model.slate_policies.perturbed_weights import PerturbedWeights
from value_model.slate_policies.shadow_prices import ExposurePromises
from value_model.slate_policies.slate_section import SlateSection
from value_model.tuning import evidence_from_log

NAMES, SIGMA = ("w_click", "w_order", "w_merchant"), 0.8
PERTURBED = SlateSection(exploration=PerturbedWeights(SIGMA, NAMES))
CAPPED = replace(RULED, exploration=PERTURBED.exploration)
PACED = replace(PERTURBED, exposure=ExposurePromises(rate=0.05, highest_price=0.5, fair=0.9))
CURVES = {surface: 0.9 ** np.arange(10) for surface in ALL_SURFACES}


def engine_of(bundle, section, *, shortlist=100, follow_seconds=1e9):
    """By default the store learns nothing while it serves, so that only the seed changes between two answers."""
    ruled = with_slate(bundle, section, shortlist=shortlist)
    return build_engine(replace(ruled, config=replace(ruled.config, follow_seconds=follow_seconds)), log=MemoryLog())


def shown(slate):
    return np.argsort(slate.position, kind="stable")[(slate.position == 0).sum() :]


def test_the_weights_logged_are_the_draws_and_values_are_theirs(bundle, market):
    engine, plain = engine_of(bundle, PERTURBED), engine_of(bundle, None).rank(ask(market)).slate
    design, seen = PerturbedWeights(SIGMA, NAMES), set()
    for seed in range(40):
        slate = engine.rank(ask(market, request_id=f"{seed}", seed=seed)).slate
        factor = {name: slate.weights[name] / plain.weights[name] for name in slate.weights}
        assert {name for name, by in factor.items() if by != 1} == set(NAMES)
        assert all(by == pytest.approx(np.exp(SIGMA * round(np.log(by)))) for by in factor.values())
        columns = engine.parts.valuation.columns(slate)
        assert np.array_equal(slate.value, evaluate(engine.parts.valuation.policy, columns, weights=slate.weights))
        assert np.array_equal(sum(engine.explain(slate).values()), slate.value)
        assert np.array_equal(slate.item_id, plain.item_id)
        assert slate.merchant_value == pytest.approx(plain.merchant_value)
        assert shown(slate).tolist() == np.argsort(-slate.value, kind="stable")[:10].tolist()
        seen.add(tuple(slate.weights.values()))
    assert len(seen) == design.draws


@pytest.mark.slow
@pytest.mark.parametrize("section", [PERTURBED, pytest.param(CAPPED, marks=pytest.mark.slow)])
def test_slates_are_shown_as_often_as_their_propensities_say(bundle, market, section):
    engine, draws = engine_of(bundle, section), 400
    counts, probabilities = Counter(), {}
    for seed in range(draws):
        slate = engine.rank(ask(market, request_id=f"{seed}", seed=seed, k=8)).slate
        order = shown(slate)
        for places in range(1, 9):
            above = tuple(slate.item_id[order[:places]])
            counts[above] += 1
            probabilities[above] = slate.propensity[order[:places]].prod()
    whole = [probability for above, probability in probabilities.items() if len(above) == 8]
    assert len(whole) > 2
    assert sum(whole) == pytest.approx(1.0)
    for above, probability in probabilities.items():
        error = np.sqrt(probability * (1 - probability) / draws)
        assert counts[above] / draws == pytest.approx(probability, abs=4.5 * error + 1e-12)


def test_the_shortlist_is_the_same_whatever_is_drawn(bundle, market):
    short, whole = (engine_of(bundle, PERTURBED, shortlist=shortlist) for shortlist in (1, 100))
    held, best = set(), set()
    for seed in range(60):
        request = ask(market, request_id=f"{seed}", seed=seed, k=5)
        a, b = short.rank(request).slate, whole.rank(request).slate
        held.add(tuple(a.item_id))
        best |= set(b.item_id[np.argsort(-b.value)[:10]])
        assert a.item_id[shown(a)].tolist() == b.item_id[shown(b)].tolist()
        assert a.propensity[shown(a)] == pytest.approx(b.propensity[shown(b)])
    assert held == {tuple(item for item in b.item_id if item in best)}
    assert 10 < len(best) < 60


@pytest.mark.parametrize("section", [PERTURBED, CAPPED, PACED])
@pytest.mark.parametrize("shortlist", [15, 100])
def test_a_replay_gives_the_same_bits(bundle, market, section, shortlist):
    engine = engine_of(bundle, section, shortlist=shortlist, follow_seconds=0.0)
    for surface in ALL_SURFACES:
        for number in range(5):
            engine.rank(ask(market, surface, request_id=f"{surface} {number}", k=7))
    fresh = engine_of(bundle, section, shortlist=shortlist)
    for slate in table_to_slates(engine.log.slates()):
        again = replay(fresh.parts, slate)
        assert again.differs == ()
        assert again.slate == slate
    changed = replace(slate, weights=slate.weights | {"w_click": slate.weights["w_click"] * np.exp(2 * SIGMA)})
    assert replay(fresh.parts, changed).differs == ("weights.w_click",)


def test_a_segments_own_weights_are_drawn_around_and_replayed(bundle, market):
    segments = sorted({row["segment"] for row in market.dataset.users.to_pylist()} - {None})
    overrides = tuple(Override(name, 0.3 + 0.1 * i) for i, name in enumerate(segments))
    weights = [replace(w, segment=overrides) if w.name == "w_click" else w for w in bundle.policy.weights]
    engine = engine_of(replace(bundle, policy=replace(bundle.policy, weights=tuple(weights))), PERTURBED)
    users = list(dict.fromkeys(market.dataset.feedback["user_id"].to_pylist()))[:12]
    slates = [engine.rank(ask(market, request_id=user, user_id=user)).slate for user in users]
    assert len({slate.context["segment"] for slate in slates}) > 1
    for slate in slates:
        centre = next(override.value for override in overrides if override.key == slate.context["segment"])
        assert abs(np.log(slate.weights["w_click"] / centre)) == pytest.approx(SIGMA)
        assert replay(engine.parts, slate).same


@pytest.mark.slow
@pytest.mark.parametrize("section", [PERTURBED, PACED])
def test_the_log_of_the_service_is_evidence(bundle, market, section):
    """Exposures told from the log are those with which the service shows items."""
    engine = engine_of(bundle, section, follow_seconds=0.0)
    users = sorted(set(market.dataset.feedback["user_id"].to_pylist()))
    rng = np.random.default_rng(5)
    for number in range(300):
        surface, user = ALL_SURFACES[number % 4], users[rng.integers(len(users))]
        time = market.known_until + timedelta(seconds=number)
        slate = engine.rank(ask(market, surface, request_id=f"{number}", user_id=user, time=time)).slate
        engine.record(answers(slate, rng))
    slates = engine.log.slates()
    joined = attribute(slates, engine.log.feedback())
    segment = to_numpy(context(joined.slates, "segment")).astype(str)
    evidence = evidence_from_log(
        joined.slates, joined.labels, engine.parts.valuation.policy, examination=CURVES, rng=rng, segment=segment
    )
    assert len(evidence) == 300
    assert evidence.feedback["click"].sum() > 100
    assert evidence.exposure.sum(axis=1) == pytest.approx(evidence.examination.sum(axis=1))
    # E[look / exposure] = 1 for every item that may be shown: a slate's sum is as many as there are, on average.
    credit = evidence.looked / np.where(evidence.exposure > 0, evidence.exposure, 1.0)
    expected = (evidence.exposure > 0).sum(axis=1)
    error = credit.sum(axis=1).std() / np.sqrt(300)
    assert (credit.sum(axis=1) - expected).mean() == pytest.approx(0.0, abs=4 * error)
    other = replace(bundle.policy, slate=replace(section, exploration=replace(section.exploration, sigma=0.5)))
    with pytest.raises(ValueError, match="is no draw around"):
        evidence_from_log(joined.slates, joined.labels, other, examination=CURVES, rng=rng, segment=segment)


def test_the_log_of_capped_slates_is_no_evidence(bundle, market):
    engine = engine_of(bundle, CAPPED)
    for number in range(20):
        engine.rank(ask(market, request_id=f"{number}"))
    joined = attribute(engine.log.slates(), engine.log.feedback())
    with pytest.raises(ValueError, match="propensities are not the draws' rankings"):
        evidence_from_log(
            joined.slates,
            joined.labels,
            engine.parts.valuation.policy,
            examination=CURVES,
            rng=np.random.default_rng(0),
        )


def answers(slate, rng):
    """Impressions of all that was shown, and a click on about one item in ten."""
    items, rows = slate.item_id[shown(slate)], []
    for item in items:
        events = ["impression"] + ["click"] * (rng.random() < 0.1)
        rows += [
            {
                "feedback_id": f"{slate.request_id} {item} {event}",
                "request_id": slate.request_id,
                "event": event,
                "time": slate.time + timedelta(seconds=1),
                "user_id": slate.user_id,
                "item_id": item,
            }
            for event in events
        ]
    return conform(pa.Table.from_pylist(rows), FEEDBACK, where="test")
