"""Laws of every head: whatever row the table has, its predictions, its losses and its files keep them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ranking_market import SIZES, SPEC, market

from marketplace.heads import (
    HEADS,
    Head,
    HeadKind,
    UnknownHead,
    bringing_event,
    composed,
    head_of,
    heads_of,
    learned_heads,
    products,
    uncomposed,
)
from value_model.formula.quantities import STANDARD
from value_model.rankers.calibration import Calibration, fit_calibration
from value_model.rankers.config import NetworkConfig, TrainingConfig, TreesConfig
from value_model.rankers.network_ranker import NetworkRanker
from value_model.rankers.ranker import Ranker, RankingData
from value_model.rankers.training import Fitting
from value_model.rankers.trees import Trees

SMALL = NetworkConfig(embedding=4, bins=4, experts=2, expert_units=(8, 8), tower_units=4, positions=8)
NAMES = [head.name for head in HEADS]


def everything(rng: np.random.Generator, *, requests: int = 60) -> RankingData:
    """Rows whose labels teach every head; what the market does not make is drawn at random."""
    data = market(rng, requests=requests).data
    rows = len(data.position)
    drawn = {label: (rng.random(rows) < 0.3).astype(np.float32) for head in HEADS for label in labels_of(head)}
    return replace(data, labels=drawn | dict(data.labels))


def labels_of(head: Head) -> list[str]:
    return [name for name in (head.label, head.condition) if name]


@pytest.fixture(scope="module")
def data() -> RankingData:
    return everything(np.random.default_rng(0))


@pytest.fixture(scope="module")
def rankers(data: RankingData) -> dict[str, Ranker]:
    network = NetworkRanker(SPEC, SIZES, config=SMALL, heads=learned_heads(data.labels), rng=np.random.default_rng(1))
    network.network.adapt(data)
    rng = np.random.default_rng(2)
    for variable in network.network.trainable_variables:
        variable.assign_add(rng.normal(0, 0.05, variable.shape).astype(np.float32))
    return {"network": network, "trees": Trees.fit(data, spec=SPEC, config=TreesConfig(trees=5, leaves=4))}


def requests_of(data: RankingData, requests: np.ndarray) -> RankingData:
    from value_model.rankers.batches import request_offsets, take

    return take(data, requests, offsets=request_offsets(data.inputs.request, len(data.inputs.user_codes)))


@pytest.mark.parametrize("kind", ["network", "trees"])
def test_predictions_hold_every_head_in_its_range(rankers: dict[str, Ranker], data: RankingData, kind: str) -> None:
    predictions = rankers[kind].predict(data.inputs)
    assert set(predictions) == set(NAMES)
    for head in HEADS:
        values, quantity = predictions[head.name], STANDARD[head.name]
        assert (((values >= 0) | head.signed) & np.isfinite(values)).all()
        assert quantity.low == (-quantity.high if head.signed else 0)
        assert head.kind is HeadKind.MONEY or (values <= 1).all()
        assert quantity.unit == head.unit
        assert np.ptp(values) > 0


@pytest.mark.parametrize("kind", ["network", "trees"])
def test_the_order_of_requests_and_the_size_of_a_batch_do_not_matter(
    rankers: dict[str, Ranker], data: RankingData, kind: str
) -> None:
    whole = rankers[kind].predict(data.inputs)
    order = np.random.default_rng(3).permutation(60)
    shuffled = rankers[kind].predict(requests_of(data, order).inputs)
    for name in NAMES:
        expected = whole[name].reshape(60, 8)
        np.testing.assert_allclose(shuffled[name].reshape(60, 8), expected[order], rtol=1e-5)
    for request in (0, 17):
        alone = rankers[kind].predict(requests_of(data, np.array([request])).inputs)
        for name in NAMES:
            np.testing.assert_allclose(alone[name], whole[name].reshape(60, 8)[request], rtol=1e-5)


@pytest.mark.parametrize("kind", ["network", "trees"])
def test_saved_and_loaded_it_gives_the_same_bits(
    rankers: dict[str, Ranker], data: RankingData, kind: str, tmp_path: Path
) -> None:
    ranker = rankers[kind]
    assert isinstance(ranker, NetworkRanker | Trees)
    ranker.save(tmp_path)
    loaded = type(ranker).load(tmp_path)
    assert loaded.heads == ranker.heads
    for name, values in loaded.predict(data.inputs).items():
        np.testing.assert_array_equal(values, ranker.predict(data.inputs)[name])


def test_no_rows_give_no_predictions(rankers: dict[str, Ranker], data: RankingData) -> None:
    for values in rankers["network"].predict(requests_of(data, np.array([], np.int64)).inputs).values():
        assert values.shape == (0,)


@pytest.mark.parametrize("head", [head for head in HEADS if head.factors], ids=lambda head: head.name)
def test_a_product_is_its_factors_also_when_calibrated(
    rankers: dict[str, Ranker], data: RankingData, head: Head
) -> None:
    raw = rankers["network"].predict(data.inputs)
    calibration = fit_calibration(raw, data)
    for predictions in (raw, calibration(raw, data.inputs), Calibration()(raw, data.inputs)):
        expected = np.prod([predictions[factor] for factor in head.factors], axis=0)
        expected = expected - (0 if head.minus is None else predictions[head.minus])
        np.testing.assert_allclose(predictions[head.name], expected, rtol=1e-12)
    assert set(calibration.heads) == {one.name for one in uncomposed(raw)}


def test_losses_start_at_the_entropy_of_an_undecided_network(data: RankingData) -> None:
    """log 2 = 0.69 for a rate; a product of two halves is 1/4, so -log 1/4 or -log 3/4."""
    network = NetworkRanker(SPEC, SIZES, config=SMALL, heads=learned_heads(data.labels), rng=np.random.default_rng(0))
    start = Fitting(network, config=TrainingConfig(), seed=0).evaluate(data)
    teaching = {head.through for head in HEADS}
    assert set(NAMES) - set(start) == {head.name for head in HEADS if head.factors and head.name not in teaching}
    for head in heads_of(start):
        rate = data.labels[head.label].mean()
        if head.is_rate:
            assert start[head.name] == pytest.approx(np.log(2), abs=1e-4)
        elif head.kind is HeadKind.PROBABILITY:
            assert start[head.name] == pytest.approx(rate * np.log(4) - (1 - rate) * np.log(3 / 4), abs=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_without_its_label_a_head_is_absent(name: str) -> None:
    label = head_of(name).label
    labels = {label for head in HEADS for label in labels_of(head)} - {label}
    learned = [head.name for head in learned_heads(labels)]
    assert name not in learned
    assert not [head.name for head in HEADS if head.name in learned and label in labels_of(head)]


def test_products_stand_after_their_factors_and_are_learned_where_these_are_not() -> None:
    for head in HEADS:
        assert all(NAMES.index(factor) < NAMES.index(head.name) for factor in head.factors)
        assert head.through is None or head.name in head_of(head.through).factors
    assert [head.name for head in learned_heads(("order", "order_value"))] == ["ctcvr", "order_value"]
    assert [head.name for head in products(("ctr", "cvr", "order_value"))] == ["ctcvr", "gmv"]


def test_an_unknown_head_is_refused_with_those_there_are() -> None:
    with pytest.raises(UnknownHead, match=r"'crt' is no head; .* has ctr, cvr"):
        composed({"ctr": np.ones(2), "crt": np.ones(2)})


def test_the_event_that_brings_an_amount_is_paid_by_it():
    assert {name: bringing_event(head_of(name)).name for name in ("gmv", "net_gmv")} == {
        "gmv": "ctcvr",
        "net_gmv": "kept_order",
    }
