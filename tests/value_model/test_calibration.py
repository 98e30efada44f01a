"""Calibrators do what they are named for: probabilities that have meant something else are put right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ranking_market import sigmoid

from features.keras2 import tensorflow as tf
from features.spec import ModelInputs
from value_model.rankers.calibration import (
    Calibration,
    Calibrator,
    fit_calibration,
    fit_isotonic,
    fit_platt,
    fit_probability,
    fit_scale,
    log_odds,
)
from value_model.rankers.config import CalibrationConfig
from value_model.rankers.graphs import calibrate
from value_model.rankers.ranker import RankingData


def drawn(rng: np.random.Generator, bend, rows: int = 20_000):  # type: ignore[no-untyped-def]
    """Predictions, outcomes drawn from `bend` of their log odds, and the truth."""
    predicted = sigmoid(rng.normal(-2, 1, rows))
    truth = sigmoid(bend(log_odds(predicted)))
    return predicted, (rng.random(rows) < truth).astype(np.float32), truth


def rows_of(labels: dict[str, np.ndarray]) -> RankingData:
    """Rows without inputs, each a request of its own."""
    rows = len(labels["click"])
    codes, numbers = np.zeros((rows, 0), np.int32), np.zeros((rows, 0), np.float32)
    request = np.arange(rows, dtype=np.int32)
    inputs = ModelInputs(codes, codes, numbers, codes, codes, numbers, codes, numbers, request)
    return RankingData(inputs, labels, np.zeros(rows, np.int32), np.ones(rows, np.float32))


def test_platt_finds_the_slope_and_intercept_that_bent_the_odds() -> None:
    predicted, event, _ = drawn(np.random.default_rng(0), lambda z: 0.6 * z - 1, 100_000)
    fitted = fit_platt(predicted, event, np.ones_like(event))
    assert fitted.slope == pytest.approx(0.6, abs=0.05)
    assert fitted.intercept == pytest.approx(-1, abs=0.1)


def test_isotonic_follows_a_bend_that_platt_cannot_and_is_chosen_for_it() -> None:
    predicted, event, truth = drawn(np.random.default_rng(1), lambda z: np.where(z > -2, 1.0, -4.0))
    weight = np.ones_like(event)
    errors = {fit: np.abs(fit(predicted, event, weight)(predicted) - truth).mean() for fit in (fit_platt, fit_isotonic)}
    assert errors[fit_isotonic] < errors[fit_platt] / 4
    assert fit_probability(predicted, event, weight).kind == "isotonic"


def test_platt_is_mostly_chosen_where_its_shape_is_the_truth_and_rows_are_few() -> None:
    kinds = []
    for seed in range(10):
        predicted, event, _ = drawn(np.random.default_rng(seed), lambda z: 0.5 * z, 1000)
        kinds.append(fit_probability(predicted, event, np.ones_like(event)).kind)
    assert kinds.count("platt") > 5


@pytest.mark.parametrize(("heads", "kind"), [("platt", "platt"), ("isotonic", "isotonic"), ("none", "identity")])
def test_the_settings_may_name_the_kind(heads: str, kind: str) -> None:
    predicted, event, _ = drawn(np.random.default_rng(2), lambda z: 0.5 * z, 1000)
    data = rows_of({"click": event.astype(np.float32)})
    for fewest, expected in ((50, kind), (900, "identity")):
        config = CalibrationConfig(heads=heads, fewest=fewest)
        assert fit_calibration({"ctr": predicted}, data, config=config).heads["ctr"].kind == expected


def test_isotonic_is_calibrated_overall_and_never_reverses_a_pair() -> None:
    predicted, event, _ = drawn(np.random.default_rng(2), lambda z: 0.5 * z - 0.5)
    fitted = fit_isotonic(predicted, event, np.ones_like(event))
    calibrated = fitted(np.sort(predicted))
    assert (np.diff(calibrated) >= 0).all()
    assert calibrated.sum() == pytest.approx(event.sum(), rel=0.02)
    inside = calibrated[(calibrated > fitted.y[0]) & (calibrated < fitted.y[-1])]
    assert (np.diff(inside) > 0).mean() > 0.99  # plain isotonic regression would tie most of them


def test_a_reversing_slope_is_refused_and_the_mean_is_kept_all_the_same() -> None:
    rng = np.random.default_rng(3)
    predicted, event, _ = drawn(rng, lambda z: -z - 4)
    weight = rng.random(len(event)) + 0.5
    fitted = fit_platt(predicted, event, weight)
    assert fitted.slope == 1
    assert (weight * fitted(predicted)).sum() == pytest.approx((weight * event).sum(), rel=1e-6)


def edges_and_all(rng: np.random.Generator) -> np.ndarray:
    """Distinct float32 probabilities, far beyond any that a calibrator was fitted on."""
    ends = np.geomspace(1e-36, 0.4, 3000)
    inside = sigmoid(rng.normal(-2, 2, 3000))
    top = 1 - np.arange(1, 3000, dtype=np.float32) * np.float32(2**-24)
    return np.unique(np.concatenate([[0.0, 1.0], ends, inside, top]).astype(np.float32))


@pytest.mark.parametrize("fit", [fit_platt, fit_isotonic])
@pytest.mark.parametrize("bend", [lambda z: 0.6 * z - 1, lambda z: -z - 4, lambda z: np.where(z > -2, 1.0, -4.0)])
def test_ranking_by_a_calibrated_head_is_exactly_the_ranking_by_the_raw_one(fit, bend) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(6)
    predicted, event, _ = drawn(rng, bend, 4000)
    raw = edges_and_all(rng)
    calibrated = fit(predicted, event, np.ones_like(event))(raw)
    assert (np.diff(calibrated) > 0).all()
    assert 0 < calibrated[0] < 1e-6
    assert calibrated[-1] <= 1


@pytest.mark.filterwarnings("error")
def test_rows_that_weigh_nothing_say_nothing_to_isotonic_and_warn_of_nothing() -> None:
    rng = np.random.default_rng(5)
    truth = rng.uniform(0.05, 0.6, 4_000)
    event, weight = (rng.random(4_000) < truth).astype(float), (rng.random(4_000) < 0.5).astype(float)
    beyond = np.linspace(0.61, 0.99, 50)  # considered and not shown
    every = fit_isotonic(np.append(truth, beyond), np.append(event, np.zeros(50)), np.append(weight, np.zeros(50)))
    counted = weight > 0
    assert every == fit_isotonic(truth[counted], event[counted], weight[counted])


def test_isotonic_has_no_level_stretch_where_a_rare_block_was_kept_off_zero() -> None:
    """The lowest block has no event: half an event in few rows is a higher rate than that of the block above."""
    predicted = np.repeat([0.001, 0.01, 0.2], [2, 1000, 1000])
    event = np.concatenate([np.zeros(2), np.arange(1000) < 5, np.arange(1000) < 300]).astype(np.float64)
    fitted = fit_isotonic(predicted, event, np.ones(2002))
    assert (np.diff(fitted.y) > 0).all()
    assert (np.diff(fitted(np.linspace(1e-4, 0.999, 5000))) > 0).all()


@pytest.mark.parametrize("fit", [fit_platt, fit_isotonic])
def test_the_exported_graph_is_the_calibrator_and_reverses_no_pair(fit) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(7)
    predicted, event, _ = drawn(rng, lambda z: 0.6 * z - 1, 4000)
    fitted, raw = fit(predicted, event, np.ones_like(event)), edges_and_all(rng)
    exported = calibrate(fitted, tf.constant(log_odds(raw))).numpy()
    np.testing.assert_allclose(sigmoid(exported), fitted(raw), rtol=1e-12, atol=1e-30)
    assert (np.diff(exported) > 0).all()


def test_scale_makes_totals_agree_also_with_weights() -> None:
    rng = np.random.default_rng(4)
    actual, predicted, weight = np.exp(rng.normal(size=(3, 500)))
    fitted = fit_scale(predicted, actual, weight)
    assert (weight * fitted(predicted)).sum() == pytest.approx((weight * actual).sum())


def test_cvr_is_calibrated_among_clicks_and_ctcvr_is_composed() -> None:
    rng = np.random.default_rng(5)
    ctr, cvr = sigmoid(rng.normal(-1, 1, (2, 40_000)))
    click = (rng.random(40_000) < ctr).astype(np.float32)
    order = click * (rng.random(40_000) < cvr**2)
    value = np.where(order > 0, 30.0, 0.0)
    predictions = {"ctr": ctr, "cvr": cvr, "order_value": np.full(40_000, 20.0)}
    labels = {"click": click, "order": order.astype(np.float32), "order_value": value.astype(np.float32)}
    data = rows_of(labels)
    calibrated = fit_calibration(predictions, data)(predictions, data.inputs)
    assert calibrated["ctr"].sum() == pytest.approx(click.sum(), rel=0.02)
    assert calibrated["ctcvr"].sum() == pytest.approx(order.sum(), rel=0.03)
    assert calibrated["gmv"].sum() == pytest.approx(value.sum(), rel=0.03)
    np.testing.assert_allclose(calibrated["ctcvr"], calibrated["ctr"] * calibrated["cvr"])


def test_rare_events_leave_a_head_as_it_is() -> None:
    event = np.zeros(1000)
    event[:10] = 1
    assert fit_probability(np.full(1000, 0.3), event, np.ones(1000)).kind == "identity"


def test_saved_calibration_is_the_same(tmp_path: Path) -> None:
    heads = {"ctr": Calibrator("isotonic", x=(-2.0, 0.5), y=(0.1, 0.7)), "order_value": Calibrator("scale", slope=1.1)}
    Calibration(heads).save(tmp_path / "calibration.json")
    assert Calibration.load(tmp_path / "calibration.json") == Calibration(heads)


def test_gmv_is_calibrated_where_three_orders_in_ten_are_paid_by_voucher() -> None:
    rng = np.random.default_rng(7)
    rows = 200_000
    ctr, cvr = sigmoid(rng.normal(-2, 0.5, rows)), sigmoid(rng.normal(-1, 0.5, rows))
    amount = rng.lognormal(4, 0.5, rows)
    click = (rng.random(rows) < ctr).astype(np.float32)
    order = click * (rng.random(rows) < cvr)
    paid = order * (rng.random(rows) < 0.7) * amount
    labels = {"click": click, "order": order.astype(np.float32), "order_value": paid.astype(np.float32)}
    heads = {"ctr": ctr, "cvr": cvr, "order_value": amount}  # a model of the paid orders alone
    data = rows_of(labels)
    calibrated = fit_calibration(heads, data)(heads, data.inputs)
    assert calibrated["gmv"].sum() / paid.sum() == pytest.approx(1, abs=0.02)
    assert calibrated["order_value"][order > 0].mean() == pytest.approx(paid[order > 0].mean(), rel=0.01)
