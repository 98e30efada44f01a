"""Clicks at places: each form learns relevance apart from who was examined, and serves it alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ranking_market import CLICKS, EXAMINATION, SIZES, SPEC, Market, market

from features.keras2 import tensorflow as tf
from marketplace.heads import head_of, learned_heads
from value_model.rankers.config import NetworkConfig, TrainingConfig
from value_model.rankers.examined_clicks import at_places
from value_model.rankers.logits import Logits, product_logit
from value_model.rankers.losses import pointwise
from value_model.rankers.network_ranker import NetworkRanker
from value_model.rankers.ranker import RankingData
from value_model.rankers.training import fit

SMALL = NetworkConfig(embedding=4, bins=4, experts=2, expert_units=(8, 8), tower_units=4, dropout=0.0, positions=8)
QUICK = TrainingConfig(epochs=5, batch_requests=40, learning_rate=1e-2)
MANY_STEPS = replace(QUICK, epochs=10, batch_requests=8)


@pytest.fixture(scope="module")
def made() -> Market:
    made = market(np.random.default_rng(0), requests=800, examined=True, base=-1.0)
    return replace(made, data=replace(made.data, labels={"click": made.data.labels["click"]}))


def fitted(data: RankingData, form: str) -> NetworkRanker:
    config = replace(SMALL, examination=form)
    ranker = NetworkRanker(SPEC, SIZES, config=config, heads=learned_heads(data.labels), rng=np.random.default_rng(0))
    fit(ranker, data, data, config=QUICK, rng=np.random.default_rng(0), progress=False)
    return ranker


def test_the_product_of_two_chances_has_this_logit_and_stays_finite():
    relevance, examined = np.meshgrid(np.linspace(-6, 6, 9), np.linspace(-6, 6, 9))
    chance = 1 / (1 + np.exp(-relevance)) / (1 + np.exp(-examined))
    np.testing.assert_allclose(product_logit(relevance, examined), np.log(chance) - np.log1p(-chance), rtol=1e-9)
    far = tf.constant([-300.0, 300.0])
    assert np.isfinite(product_logit(far[:, None], far[None, :])).all()


def test_clicks_over_examination_expect_the_loss_of_relevance_where_clicks_do_not():
    rng = np.random.default_rng(1)
    relevance, examined = rng.uniform(0.1, 0.6, 400_000), rng.choice([1.0, 0.5, 0.2], 400_000)
    predicted = np.full(len(relevance), 0.3)
    click = (rng.random(len(relevance)) < relevance * examined).astype(np.float32)
    truth = -(relevance * np.log(predicted) + (1 - relevance) * np.log1p(-predicted)).mean()
    logits = Logits({"ctr": tf.constant(np.log(predicted / (1 - predicted)), tf.float32)}, {})
    labels, weight = {"click": tf.constant(click)}, tf.ones(len(click))
    unbiased = pointwise(logits, labels, weight=weight, examination=tf.constant(examined, tf.float32))
    assert float(unbiased["ctr"]) == pytest.approx(truth, abs=3e-3)
    assert abs(float(pointwise(logits, labels, weight=weight)["ctr"]) - truth) > 0.1
    at_place = tf.sigmoid(at_places(logits, tf.constant(examined, tf.float32)).events["ctr"])
    np.testing.assert_allclose(at_place, predicted * examined, rtol=1e-4)


def test_what_follows_an_event_was_examined():
    assert head_of("cvr").after_event
    assert head_of("order_value").after_event
    assert not any(head_of(name).after_event for name in ("ctr", "cart", "ctcvr", "ctcvr_treated"))
    logits = Logits({name: tf.constant([0.3]) for name in ("ctr", "cvr")}, {})
    assert float(at_places(logits, tf.constant([0.5])).events["cvr"][0]) == pytest.approx(0.3)


@pytest.mark.parametrize("form", ["pal", pytest.param("dla", marks=pytest.mark.slow)])
def test_examination_is_learned_and_relevance_served(made, form):
    ranker = fitted(made.data, form)
    tower, places = ranker.network.position, tf.range(1, 9)
    learned = tower.examination(places, tf.zeros([8, 0])).numpy()
    np.testing.assert_allclose(learned, EXAMINATION, atol=0.16)
    neutral = ranker.predict(made.data.inputs)
    shown = ranker.predict(made.data.inputs, position=made.data.position)
    assert np.corrcoef(neutral["ctr"], made.ctr)[0, 1] > 0.9
    assert neutral["ctr"].mean() == pytest.approx(made.ctr.mean(), rel=0.15)
    if form == "pal":
        examined = tf.sigmoid(tower(made.data.position, tf.zeros([1, 0])))[:, 0]
        np.testing.assert_allclose(shown["ctr"], neutral["ctr"] * examined, rtol=1e-3)
    else:
        np.testing.assert_array_equal(shown["ctr"], neutral["ctr"])


def test_a_place_changes_nothing_of_what_follows_a_click(made):
    config = replace(SMALL, examination="pal")
    ranker = NetworkRanker(SPEC, SIZES, config=config, heads=learned_heads(CLICKS), rng=np.random.default_rng(0))
    neutral, shown = (ranker.predict(made.data.inputs, position=place) for place in (None, made.data.position))
    np.testing.assert_array_equal(shown["cvr"], neutral["cvr"])
    assert (shown["ctr"] < neutral["ctr"]).all()


@pytest.mark.slow
def test_weighed_clicks_teach_the_level_that_naive_ones_miss(made):
    examination = EXAMINATION[made.data.position - 1].astype(np.float32)
    weighed = fitted(replace(made.data, examination=examination), "ipw").predict(made.data.inputs)["ctr"]
    assert np.corrcoef(weighed, made.ctr)[0, 1] > 0.9
    assert weighed.mean() == pytest.approx(made.ctr.mean(), rel=0.1)
    assert made.data.labels["click"].mean() < 0.6 * made.ctr.mean()


@pytest.mark.slow
def test_what_a_badge_adds_is_told_from_the_item_and_left_out_in_serving(made):
    """Fitting items bear the badge, which doubles who looks at them."""
    rng, match = np.random.default_rng(2), made.data.inputs.cross_numbers[:, 0]
    badge = rng.random(len(match)) < 1 / (1 + np.exp(-2 * match))
    click = (rng.random(len(match)) < made.ctr * np.where(badge, 0.8, 0.4)).astype(np.float32)
    labels = {"click": click}
    data = replace(made.data, labels=labels, presentation=badge[:, None].astype(np.float32))
    slopes = []
    for config in (SMALL, replace(SMALL, presentation=("badge",))):
        ranker = NetworkRanker(SPEC, SIZES, config=config, heads=learned_heads(labels), rng=np.random.default_rng(0))
        fit(ranker, data, data, config=MANY_STEPS, rng=np.random.default_rng(0), progress=False)
        predicted = ranker.predict(data.inputs)["ctr"]
        slopes.append(np.polyfit(match, np.log(predicted), 1)[0] / np.polyfit(match, np.log(made.ctr), 1)[0])
    assert slopes[0] > 1.1
    assert slopes[1] == pytest.approx(1, abs=0.1)
