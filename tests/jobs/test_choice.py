"""The served ranker is the one that orders best what was looked at, wherever it was shown."""

from __future__ import annotations

import json

import numpy as np
import pytest

from features.spec import ModelInputs
from jobs.choice import Choice, choose, examination
from jobs.train_ranker import chosen, seen_places
from marketplace.heads import composed
from value_model.rankers.calibration import Calibration
from value_model.rankers.opinion_pool import fit_weights
from value_model.rankers.ranker import RankingData

PLACES, REQUESTS = 10, 3000
SHOPPER = np.arange(REQUESTS) // 2


@pytest.fixture(scope="module")
def log():
    """Lists in the order of an old ranker that knows nothing; clicks = examined x attractive."""
    rng = np.random.default_rng(0)
    rows = REQUESTS * PLACES
    position = np.tile(np.arange(1, PLACES + 1, dtype=np.int32), REQUESTS)
    attraction = np.exp(rng.normal(-2.5, 0.6, rows)).clip(max=0.9)
    seen = 1 / position**1.2
    click = rng.random(rows) < seen * attraction
    order = click & (rng.random(rows) < 0.5)
    labels = {"click": click, "order": order, "order_value": order * 10.0}
    nothing = {name: np.zeros((REQUESTS, 0), np.float32) for name in ("user_codes", "user_lists", "user_numbers")}
    names = ("item_codes", "item_lists", "item_numbers", "cross_codes", "cross_numbers")
    nothing |= {name: np.zeros((rows, 0), np.float32) for name in names}
    inputs = ModelInputs(**nothing, request=np.repeat(np.arange(REQUESTS, dtype=np.int32), PLACES))
    labels = {name: label.astype(np.float32) for name, label in labels.items()}
    return RankingData(inputs, labels, position=position, weight=np.ones(rows, np.float32)), attraction, seen


def heads(ctr: np.ndarray) -> dict[str, np.ndarray]:
    return composed({"ctr": ctr, "cvr": np.full(len(ctr), 0.5), "order_value": np.full(len(ctr), 10.0)})


def test_a_ranker_that_guesses_the_old_places_does_not_win(log):
    data, attraction, seen = log
    rng = np.random.default_rng(1)
    truth = heads(attraction * np.exp(rng.normal(0, 0.3, len(seen))))
    models = {"guesses places": heads(seen * attraction**0.1), "knows items": truth}
    surface = np.full(REQUESTS, "home")
    looked = examination(data, attraction, surface)
    np.testing.assert_allclose(looked[:PLACES], np.maximum(seen[:PLACES], 0.1), rtol=0.25)
    assert choose(models, data, examination=looked, shopper=SHOPPER, rng=rng).served == "knows items"
    assert choose(models, data, examination=np.ones(len(seen)), shopper=SHOPPER, rng=rng).served == "guesses places"
    weights = [fit_weights(models, data, examination=one)["ctr"]["knows items"] for one in (looked, None)]
    assert weights[0] > 0.9 > 0.7 > weights[1]


def test_the_gap_to_the_others_has_a_paired_interval(log):
    data, attraction, _ = log
    models = {"one": heads(attraction), "same": heads(attraction), "flat": heads(np.full(len(attraction), 0.1))}
    choice = choose(models, data, examination=np.ones(len(attraction)), shopper=SHOPPER, rng=np.random.default_rng(2))
    assert choice.served == "one"
    assert choice.behind["same"].low == choice.behind["same"].high == 0
    assert 0 < choice.behind["flat"].low < choice.behind["flat"].value < choice.behind["flat"].high
    assert Choice.from_json(json.loads(json.dumps(choice.to_json()))) == choice
    assert choice.facts["ranker"] == "one"
    assert str(choice).startswith("one is served: mean over heads of DCG@10")


def test_without_places_or_clicks_every_row_counts_alike(log):
    data, attraction, _ = log
    unplaced = RankingData(data.inputs, data.labels, position=np.zeros_like(data.position), weight=data.weight)
    surface = np.full(REQUESTS, "home")
    for some, expected in ((unplaced, attraction), (data, None)):
        np.testing.assert_array_equal(examination(some, expected, surface), 1)


def test_where_nothing_happened_the_first_is_served(log):
    data, attraction, _ = log
    nothing = RankingData(
        data.inputs, {name: 0 * label for name, label in data.labels.items()}, data.position, data.weight
    )
    models = {"one": heads(attraction), "two": heads(attraction)}
    choice = choose(
        models, nothing, examination=np.ones(len(attraction)), shopper=SHOPPER, rng=np.random.default_rng(3)
    )
    assert choice.served == "one"


def test_both_halves_are_judged_each_as_the_other_weighs_and_calibrates_it(log):
    data, attraction, _ = log
    half = len(attraction) // 2
    first = np.arange(len(attraction)) < half
    flat = np.full(len(attraction), 0.1)
    opinions = {"network": heads(np.where(first, attraction, flat)), "trees": heads(np.where(first, flat, attraction))}
    seen = []

    def calibrate(predicted, part):
        seen.append(len(predicted["ctr"]))
        assert np.array_equal(part.labels["click"], data.labels["click"][~first if len(seen) <= 3 else first])
        return Calibration({})

    surface, rng = np.full(REQUESTS, "home"), np.random.default_rng(4)
    looked = seen_places(opinions, data, surface, gains="debiased")
    choice = chosen(opinions, data, calibrate=calibrate, examination=looked, shopper=SHOPPER, rng=rng)
    assert len(seen) == 6  # three rankers, two halves
    direct = choose(opinions, data, examination=looked, shopper=SHOPPER, rng=np.random.default_rng(4))
    for name, estimate in direct.objective.items():
        assert choice.objective[name].value == pytest.approx(estimate.value)


def reached(gain: np.ndarray, score: np.ndarray) -> float:
    """DCG per gain by its formula, of lists of PLACES."""
    best_first = (-score).reshape(-1, PLACES).argsort(axis=1)
    sorted_gain = np.take_along_axis(gain.reshape(-1, PLACES), best_first, axis=1)
    return float((sorted_gain / np.log2(np.arange(PLACES) + 2)).sum() / sorted_gain.sum())


def test_what_is_not_known_yet_takes_no_part(log):
    data, attraction, seen = log
    half = len(attraction) // 2
    order = np.where(np.arange(len(attraction)) < half, np.nan, data.labels["order"])
    labels = {"click": data.labels["click"], "order": order, "order_value": order * 10}
    open_rows = RankingData(data.inputs, labels, data.position, data.weight)
    choice = choose(
        {"one": heads(attraction)}, open_rows, examination=seen, shopper=SHOPPER, rng=np.random.default_rng(0)
    )
    clicked, ordered = reached(labels["click"] / seen, attraction), reached((order / seen)[half:], attraction[half:])
    assert choice.objective["one"].value == pytest.approx((clicked + 2 * ordered) / 3, rel=1e-6)
    assert choice.objective["one"].low < choice.objective["one"].value < choice.objective["one"].high
