"""Calibrators do what they are named for: probabilities that have meant something else are put right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ranking_market import sigmoid

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
from value_model.rankers.ranker import Labels


def drawn(rng: np.random.Generator, bend, rows: int = 20_000):  # type: ignore[no-untyped-def]
    """Predictions, outcomes drawn from `bend` of their log odds, and the truth."""
    predicted = sigmoid(rng.normal(-2, 1, rows))
    truth = sigmoid(bend(log_odds(predicted)))
    return predicted, (rng.random(rows) < truth).astype(np.float32), truth


def test_platt_finds_the_slope_and_intercept_that_bent_the_odds() -> None:
    predicted, event, _ = drawn(np.random.default_rng(0), lambda z: 0.6 * z - 1, 100_000)
    found = fit_platt(predicted, event, np.ones_like(event))
    assert found.slope == pytest.approx(0.6, abs=0.05)
    assert found.intercept == pytest.approx(-1, abs=0.1)


def test_isotonic_follows_a_bend_that_platt_cannot_and_is_chosen_for_it() -> None:
    predicted, event, truth = drawn(np.random.default_rng(1), lambda z: np.where(z > -2, 1.0, -4.0))
    weight = np.ones_like(event)
    errors = {fit: np.abs(fit(predicted, event, weight)(predicted) - truth).mean() for fit in (fit_platt, fit_isotonic)}
    assert errors[fit_isotonic] < errors[fit_platt] / 4
    assert fit_probability(predicted, event, weight).kind == "isotonic"


def test_platt_is_mostly_chosen_where_its_shape_is_the_truth_and_rows_are_few() -> None:
    chosen = []
    for seed in range(10):
        predicted, event, _ = drawn(np.random.default_rng(seed), lambda z: 0.5 * z, 1000)
        chosen.append(fit_probability(predicted, event, np.ones_like(event)).kind)
    assert chosen.count("platt") > 5


def test_isotonic_is_calibrated_overall_and_never_reverses_a_pair() -> None:
    predicted, event, _ = drawn(np.random.default_rng(2), lambda z: 0.5 * z - 0.5)
    found = fit_isotonic(predicted, event, np.ones_like(event))
    calibrated = found(np.sort(predicted))
    assert (np.diff(calibrated) >= 0).all()
    assert calibrated.sum() == pytest.approx(event.sum(), rel=0.02)
    inside = calibrated[(calibrated > found.y[0]) & (calibrated < found.y[-1])]
    assert (np.diff(inside) > 0).mean() > 0.99  # plain isotonic regression would tie most of them


def test_a_reversing_slope_is_refused() -> None:
    predicted, event, _ = drawn(np.random.default_rng(3), lambda z: -z - 4)
    assert fit_platt(predicted, event, np.ones_like(event)).slope == 1


def test_scale_makes_totals_agree_also_with_weights() -> None:
    rng = np.random.default_rng(4)
    actual, predicted, weight = np.exp(rng.normal(size=(3, 500)))
    found = fit_scale(predicted, actual, weight)
    assert (weight * found(predicted)).sum() == pytest.approx((weight * actual).sum())


def test_cvr_is_calibrated_among_clicks_and_ctcvr_is_composed() -> None:
    rng = np.random.default_rng(5)
    ctr, cvr = sigmoid(rng.normal(-1, 1, (2, 40_000)))
    click = (rng.random(40_000) < ctr).astype(np.float32)
    order = click * (rng.random(40_000) < cvr**2)
    value = np.where(order > 0, 30.0, 0.0)
    predictions = {"ctr": ctr, "cvr": cvr, "order_value": np.full(40_000, 20.0)}
    labels = Labels(order=order.astype(np.float32), order_value=value.astype(np.float32), click=click)
    found = fit_calibration(predictions, labels, np.ones(40_000))(predictions)
    assert found["ctr"].sum() == pytest.approx(click.sum(), rel=0.02)
    assert found["ctcvr"].sum() == pytest.approx(order.sum(), rel=0.03)
    assert found["gmv"].sum() == pytest.approx(value.sum(), rel=0.03)
    np.testing.assert_allclose(found["ctcvr"], found["ctr"] * found["cvr"])


def test_rare_events_leave_a_head_as_it_is() -> None:
    event = np.zeros(1000)
    event[:10] = 1
    assert fit_probability(np.full(1000, 0.3), event, np.ones(1000)).kind == "identity"


def test_saved_calibration_is_the_same(tmp_path: Path) -> None:
    heads = {"ctr": Calibrator("isotonic", x=(-2.0, 0.5), y=(0.1, 0.7)), "order_value": Calibrator("scale", slope=1.1)}
    Calibration(heads).save(tmp_path / "calibration.json")
    assert Calibration.load(tmp_path / "calibration.json") == Calibration(heads)
