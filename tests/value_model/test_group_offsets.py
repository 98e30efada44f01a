"""Offsets of surfaces and segments: found where there is evidence, leaning on the others where there is little."""

from __future__ import annotations

import numpy as np
import pytest
from ranking_market import Market, market, sigmoid

from value_model.rankers.calibration import Calibration, Calibrator, fit_calibration
from value_model.rankers.group_offsets import GroupCodes, GroupOffsets, Observations, fit_offsets, shift_odds
from value_model.rankers.ranker import RankingData

SEGMENT = GroupCodes("segment", 0, 6)


def drawn(rng: np.random.Generator, truth: np.ndarray, counts: np.ndarray) -> tuple[Observations, np.ndarray]:
    """Rows of groups whose log odds are off by `truth`."""
    codes = np.repeat(np.arange(len(truth)), counts)
    predicted = sigmoid(rng.normal(-2, 1, len(codes)))
    happened = rng.random(len(codes)) < shift_odds(predicted, np.exp(truth)[codes])
    ones = np.ones(len(codes))
    return Observations(predicted, happened.astype(float), ones, ones, np.arange(len(codes)), money=False), codes


def test_offsets_of_much_evidence_are_the_truth_and_of_little_lean_on_all() -> None:
    truth = np.array([0.3, -0.3, 0.2, -0.2, 0.0, 3.0])
    rows, codes = drawn(np.random.default_rng(0), truth, np.array([*[40_000] * 5, 8]))
    offsets = fit_offsets(rows, codes, size=8)
    np.testing.assert_allclose(offsets[:5], truth[:5], atol=0.06)
    assert abs(offsets[5]) < 1  # eight rows do not say 3
    assert offsets[6] == offsets[7] == pytest.approx(offsets[:5].mean(), abs=0.05)  # no rows: what holds of all


def test_groups_that_do_not_differ_get_hardly_an_offset() -> None:
    errors = []
    for seed in range(20):
        rows, codes = drawn(np.random.default_rng(seed), np.zeros(4), np.full(4, 600))
        errors.append(fit_offsets(rows, codes, size=4))
    separate = 1 / np.sqrt(600 * 0.11)  # the error of a group on its own: p (1 - p) is about 0.11
    assert np.std(errors) < 0.8 * separate


def test_rows_of_one_request_that_go_together_count_as_less_evidence() -> None:
    rng = np.random.default_rng(1)
    rows, codes = drawn(rng, np.array([0.5, -0.5, 0.0]), np.array([300, 300, 4000]))
    repeated = Observations(
        *(np.repeat(column, 10) for column in (rows.predicted, rows.observed, rows.exposure, rows.weight)),
        request=np.repeat(rows.request, 10),
        money=False,
    )
    np.testing.assert_allclose(
        fit_offsets(repeated, np.repeat(codes, 10), size=3), fit_offsets(rows, codes, size=3), atol=0.02
    )


def shifted(made: Market, offsets: np.ndarray) -> dict[str, np.ndarray]:
    """The truth with ctr and order value off by group: what a model says that does not see the groups."""
    codes = SEGMENT.of(made.data.inputs)
    ctr = shift_odds(made.ctr, np.exp(-offsets)[codes])
    return {"ctr": ctr, "cvr": made.cvr, "order_value": made.mean_value * np.exp(-offsets)[codes]}


def sums(data: RankingData, heads: dict[str, np.ndarray], name: str, label: str) -> np.ndarray:
    """Sum predicted / sum observed by segment."""
    codes = SEGMENT.of(data.inputs)
    return np.bincount(codes, heads[name]) / np.bincount(codes, data.labels[label])


def test_heads_and_their_products_are_right_in_every_group_on_later_rows() -> None:
    offsets = np.array([0.4, -0.4, 0.2, -0.2, 0.0, 0.1])
    before, later = (market(np.random.default_rng(seed), requests=12_000) for seed in (0, 1))
    calibration = fit_calibration(shifted(before, offsets), before.data, groups=(SEGMENT,))
    raw = shifted(later, offsets)
    calibrated = calibration(raw, later.data.inputs)
    assert abs(sums(later.data, raw, "ctr", "click") - 1).max() > 0.2
    for name, label in (("ctr", "click"), ("ctcvr", "order"), ("gmv", "order_value")):
        np.testing.assert_allclose(sums(later.data, calibrated, name, label), 1, atol=0.06)
    for code in range(6):  # within a group the order of rows stays
        rows = SEGMENT.of(later.data.inputs) == code
        np.testing.assert_array_equal(np.argsort(raw["ctr"][rows]), np.argsort(calibrated["ctr"][rows]))


@pytest.mark.slow
def test_products_are_right_where_the_errors_of_their_factors_go_together() -> None:
    """cvr is right among clicks and order_value among orders, yet gmv is not: dear items are bought less often."""
    made = market(np.random.default_rng(2), requests=20_000)
    price = made.mean_value
    flat = np.full(len(price), (made.data.labels["order"] * price).sum() / made.data.labels["order"].sum())
    labels = dict(made.data.labels)
    order = labels["order"] * (np.random.default_rng(3).random(len(price)) < 1 / (1 + price / price.mean()))
    labels |= {"order": order.astype(np.float32), "order_value": labels["order_value"] * (order > 0)}
    data = RankingData(made.data.inputs, labels, made.data.position, made.data.weight)
    heads = {"ctr": made.ctr, "cvr": made.cvr, "order_value": price * flat.mean() / price.mean()}
    calibrated = fit_calibration(heads, data, groups=(SEGMENT,))(heads, data.inputs)
    assert calibrated["gmv"].sum() == pytest.approx(labels["order_value"].sum(), rel=0.01)
    assert calibrated["ctcvr"].sum() == pytest.approx(labels["order"].sum(), rel=0.01)


def test_a_saved_calibration_has_its_groups(tmp_path) -> None:  # type: ignore[no-untyped-def]
    calibration = Calibration(
        {"ctr": Calibrator("platt", slope=0.5)}, {"ctr": (GroupOffsets("surface", 3, (0.0, 0.1)),)}
    )
    calibration.save(tmp_path / "calibration.json")
    assert Calibration.load(tmp_path / "calibration.json") == calibration
