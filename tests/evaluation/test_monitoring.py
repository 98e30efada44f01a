"""What is usual, which cause departures point to, and what scores promise without labels."""

import re
from pathlib import Path

import numpy as np
import pytest

from evaluation.heads import auc
from evaluation.monitoring.causes import CAUSES, by_cause
from evaluation.monitoring.changes import changed
from evaluation.monitoring.head_figures import expected_auc
from evaluation.monitoring.inputs import Bins
from evaluation.monitoring.usual import LEAST_DAYS, forecast, surprise


def names(departures):
    return {cause.name: figures for cause, figures in by_cause(departures).items()}


def test_a_forecast_knows_weekdays_and_waits_for_a_week():
    rng = np.random.default_rng(0)
    weekdays = np.arange(35) % 7
    values = np.stack([np.where(weekdays == 4, 3.0, 1.0), rng.normal(5, 0.1, 35)], axis=1)
    friday, monday = (forecast(values, weekdays, weekday=day)[0] for day in (4, 0))
    assert 2.2 < friday < 3.0
    assert 0.9 < monday < 1.3
    assert forecast(values, weekdays, weekday=0)[1] == pytest.approx(5, abs=0.15)
    assert np.isnan(forecast(values[: LEAST_DAYS - 1], weekdays[: LEAST_DAYS - 1], weekday=0)).all()
    values[:-3] = np.nan
    assert np.isnan(forecast(values, weekdays, weekday=0)).all()


def test_usual_days_depart_at_the_nominal_rate():
    rng, figures, days = np.random.default_rng(1), 4000, 40
    weekdays = np.arange(days) % 7
    values = rng.normal(size=(days, figures)) + rng.normal(size=(7, figures))[weekdays]
    errors = np.full(values.shape, np.nan)
    for day in range(days):
        errors[day] = values[day] - forecast(values[:day], weekdays[:day], weekday=weekdays[day])
    still = np.zeros(figures)
    rates = [
        np.mean(surprise(errors[day], errors[:day], floor=still, side=still).p_value < 0.05) for day in range(28, days)
    ]
    assert 0.03 < np.mean(rates) < 0.06


def test_one_fault_is_one_alert():
    currency = {"paid_to_price": -1.0, "calibration.order_value.all": 1.0, "calibration.gmv.home": 1.0}
    assert list(names(currency)) == ["currency"]
    lost = {"silence": 1.0, "rate.seen": -1.0, "drift.price": 1.0, "fill": 1.0, "requests": -1.0}
    assert list(names(lost)) == ["log_loss"]
    assert names(lost)["log_loss"][0] in ("silence", "rate.seen", "requests")
    assert list(names({"requests": 1.0})) == ["drift"]
    assert list(names({"slow.drift.price": 1.0})) == ["drift"]
    both = names({"missing.age": 1.0, "drift.age": 1.0, "skew.age": 1.0, "paid_to_price": 1.0})
    assert {cause: set(figures) for cause, figures in both.items()} == {
        "currency": {"paid_to_price"},
        "broken_feature": {"missing.age", "drift.age", "skew.age"},
    }
    assert names({}) == {}
    assert CAUSES[-1].signs == ("*",)


def test_calibrated_scores_promise_the_auc_that_labels_show():
    rng = np.random.default_rng(2)
    scores = rng.beta(1, 12, 200)
    above = (scores[:, None] > scores) + (scores[:, None] == scores) / 2
    weight = scores[:, None] * (1 - scores)
    assert expected_auc(scores) == pytest.approx((above * weight).sum() / weight.sum())
    many = rng.beta(1, 12, 60_000)
    assert expected_auc(many) == pytest.approx(auc(many, (rng.random(60_000) < many).astype(float)), abs=0.01)


def test_bins_count_numbers_words_and_what_is_missing():
    numbers, words = Bins(edges=(1.0, 2.0)), Bins(words=("red", "blue"))
    assert numbers.codes(np.array([0.5, 1.0, 3.0, np.nan])).tolist() == [0, 1, 2, -1]
    assert words.codes(np.array(["blue", "green", None, "red"], object)).tolist() == [1, 2, -1, 0]
    assert [len(bins.codes(np.empty(0))) for bins in (numbers, words)] == [0, 0]


def test_a_small_shift_that_stays_is_a_change_and_noise_is_none():
    rng = np.random.default_rng(3)
    noise = rng.normal(size=60)
    assert not any(changed(noise[:day], side=0) for day in range(1, 61, 6))
    shifted = np.concatenate([noise[:30], noise[30:] + 1.8])
    assert any(changed(shifted[:day], side=0) for day in range(31, 61))
    assert not any(changed(shifted[:day], side=-1) for day in range(31, 61))


def test_every_cause_has_its_place_in_the_runbook():
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text("utf-8")
    anchors = {
        re.sub(r"[^a-z -]", "", line.lower()).strip().replace(" ", "-") for line in re.findall(r"^#+ (.*)", page, re.M)
    }
    assert {cause.runbook.partition("#")[2] for cause in CAUSES} <= anchors
