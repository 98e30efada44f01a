"""Head metrics against scikit-learn, weighted and unweighted, and intervals against their promise."""

from itertools import pairwise

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss, mean_absolute_error, roc_auc_score, root_mean_squared_log_error

from evaluation import bootstrap, heads
from evaluation.compare import compare_rankers, evaluate_ranker
from evaluation.rank_sums import area, gini, rank_sums


def funnel(rng, *, requests=300):
    """A market whose heads are known: click and order are drawn from the predictions themselves."""
    offsets = np.concatenate(([0], np.cumsum(rng.integers(1, 20, requests))))
    n = offsets[-1]
    ctr, cvr = rng.beta(1, 4, n), rng.beta(2, 3, n)
    value = np.exp(rng.normal(3, 0.5, n))
    click = (rng.random(n) < ctr).astype(float)
    order = click * (rng.random(n) < cvr)
    paid = order * value * rng.gamma(10, 0.1, n)
    predictions = {"ctr": ctr, "cvr": cvr, "ctcvr": ctr * cvr, "order_value": value, "gmv": ctr * cvr * value}
    return predictions, {"click": click, "order": order, "order_value": paid}, offsets


@pytest.mark.parametrize("levels", [None, 5])
def test_weighted_areas_equal_scikit_learn(levels):
    rng = np.random.default_rng(0)
    scores = rng.random(500) if levels is None else rng.integers(0, levels, 500) / levels
    labels, request, weight = (rng.random(500) < 0.2).astype(float), rng.integers(0, 40, 500), rng.poisson(1, 40)
    expected = roc_auc_score(labels, scores, sample_weight=weight[request])
    assert area(rank_sums(scores, labels, request)(weight)) == pytest.approx(expected, abs=1e-12)
    assert heads.auc(scores, labels, weight=weight[request]) == pytest.approx(expected, abs=1e-12)
    assert heads.auc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


def test_gini_of_binary_labels_is_twice_the_area_less_one():
    rng = np.random.default_rng(1)
    scores, labels = rng.integers(0, 9, 300).astype(float), (rng.random(300) < 0.3).astype(float)
    ones, rows = np.ones(300), np.arange(300)
    value = gini(rank_sums(scores, labels, rows)(ones), rank_sums(labels, labels, rows)(ones))
    assert value == pytest.approx(2 * roc_auc_score(labels, scores) - 1, abs=1e-12)


def test_gini_by_the_lorenz_curve():
    rng = np.random.default_rng(2)
    scores, amounts, ones, rows = rng.random(200), rng.gamma(1, 30, 200), np.ones(200), np.arange(200)

    def lorenz(order):
        return (np.cumsum(amounts[order]) / amounts.sum()).sum() - (len(amounts) + 1) / 2

    ours = gini(rank_sums(scores, amounts, rows)(ones), rank_sums(amounts, amounts, rows)(ones))
    assert ours == pytest.approx(lorenz(np.argsort(-scores)) / lorenz(np.argsort(-amounts)), abs=1e-12)


def test_every_metric_equals_its_library_on_data_and_on_each_sample():
    rng = np.random.default_rng(3)
    predictions, labels, offsets = funnel(rng, requests=60)
    samples = bootstrap.resample(60, rng, replicates=5)
    result = heads.probability_head(predictions["ctr"], labels["click"], offsets, samples=samples)
    amounts = heads.amount_head(predictions["gmv"], labels["order_value"], offsets, samples=samples)
    request = np.repeat(np.arange(60), np.diff(offsets))
    for draw, weight in enumerate([np.ones(60), *samples.counts]):
        w = weight[request]
        expected = {
            "auc": roc_auc_score(labels["click"], predictions["ctr"], sample_weight=w),
            "log_loss": log_loss(labels["click"], predictions["ctr"], sample_weight=w),
            "calibration_ratio": (w @ predictions["ctr"]) / (w @ labels["click"]),
        }
        expected_amounts = {
            "mae": mean_absolute_error(labels["order_value"], predictions["gmv"], sample_weight=w),
            "rmsle": root_mean_squared_log_error(labels["order_value"], predictions["gmv"], sample_weight=w),
        }
        for measured, oracle in ((result, expected), (amounts, expected_amounts)):
            for name, value in oracle.items():
                ours = measured[name].value if draw == 0 else measured[name].draws[draw - 1]
                assert ours == pytest.approx(value, abs=1e-12), name


def test_ece_by_the_calibration_curve():
    rng = np.random.default_rng(4)
    predictions, labels = rng.beta(1, 9, 3000), (rng.random(3000) < 0.12).astype(float)
    observed, predicted = calibration_curve(labels, predictions, n_bins=15, strategy="quantile")
    result = heads.probability_head(
        predictions, labels, np.arange(3001), samples=bootstrap.resample(3000, rng, replicates=50)
    )
    assert result["ece"].value == pytest.approx(np.abs(observed - predicted).mean(), abs=1e-12)
    estimate = result["ece"].estimate()
    assert estimate.low <= estimate.value <= estimate.high


def test_grouped_area_is_the_impression_weighted_mean_of_the_requests():
    rng = np.random.default_rng(5)
    predictions, labels, offsets = funnel(rng, requests=40)
    rows = [slice(a, b) for a, b in pairwise(offsets)]
    mixed = [r for r in rows if 0 < labels["click"][r].sum() < r.stop - r.start]
    areas = [roc_auc_score(labels["click"][r], predictions["ctr"][r]) for r in mixed]
    result = heads.probability_head(
        predictions["ctr"], labels["click"], offsets, samples=bootstrap.resample(40, rng, replicates=2)
    )
    assert result["grouped_auc"].value == pytest.approx(
        np.average(areas, weights=[r.stop - r.start for r in mixed]), abs=1e-12
    )
    assert result["grouped_auc"].n == len(mixed)


def test_sums_of_two_shards_are_the_sums_of_all():
    rng = np.random.default_rng(6)
    predictions, labels = rng.random(100), (rng.random(100) < 0.5).astype(float)
    edges, one = heads.equal_mass_edges(predictions), np.zeros(100, np.int64)
    whole = heads.head_sums(predictions, labels, one, requests=1, edges=edges)
    left, right = (
        heads.head_sums(predictions[s], labels[s], one[s], requests=1, edges=edges) for s in (slice(30), slice(30, 100))
    )
    for name in ("log_loss", "ece", "calibration_ratio", "mae", "rmsle"):
        np.testing.assert_allclose(getattr(left + right, name), getattr(whole, name), atol=1e-12)


def test_intervals_cover_the_truth_and_tighten_with_data():
    rng = np.random.default_rng(7)
    covered, widths = 0, {}
    for _ in range(60):
        predictions, labels, offsets = funnel(rng, requests=150)
        samples = bootstrap.resample(150, rng)
        measured = heads.probability_head(predictions["ctr"], labels["click"], offsets, samples=samples)
        ratio = measured["calibration_ratio"]
        covered += ratio.estimate().low <= 1 <= ratio.estimate().high
    assert covered >= 51  # 95 % of 60 is 57; 51 is three standard errors below
    for requests in (100, 1600):
        predictions, labels, offsets = funnel(rng, requests=requests)
        estimate = evaluate_ranker(predictions, labels, offsets, rng=rng)["ctr.auc"]
        widths[requests] = estimate.high - estimate.low
    assert widths[1600] < widths[100] / 2.5


def test_a_ranker_that_says_the_truth_is_calibrated_on_every_head():
    rng = np.random.default_rng(8)
    predictions, labels, offsets = funnel(rng, requests=3000)
    metrics = evaluate_ranker(predictions | {"value": predictions["gmv"]}, labels, offsets, rng=rng)
    for head in ("ctr", "cvr", "ctcvr", "order_value", "gmv"):
        estimate = metrics[f"{head}.calibration_ratio"]
        assert estimate.low < 1 < estimate.high
    assert metrics["value.gmv_ndcg@10"] == metrics["gmv.ndcg@10"]
    assert metrics["gmv.gmv@10"].value <= labels["order_value"].sum() / 3000 + 1e-9


def test_without_clicks_there_are_no_click_metrics():
    rng = np.random.default_rng(9)
    predictions, labels, offsets = funnel(rng)
    del labels["click"]
    metrics = evaluate_ranker(predictions, labels, offsets, rng=rng)
    assert not [name for name in metrics if name.startswith(("ctr.", "cvr."))]
    assert "ctcvr.auc" in metrics


def test_differences_are_paired_hence_tighter_than_the_models_own_intervals():
    rng = np.random.default_rng(10)
    predictions, labels, offsets = funnel(rng, requests=500)
    noisy = {name: p * np.exp(rng.normal(0, 0.3, len(p))) for name, p in predictions.items() if name != "cvr"}
    result = compare_rankers({"true": predictions, "noisy": noisy}, labels, offsets, baseline="true", rng=rng)
    change, level = result.differences["noisy"]["ctr.auc"], result.metrics["noisy"]["ctr.auc"]
    assert change.high < 0
    assert change.high - change.low < (level.high - level.low) / 2
    assert set(result.table()["metric"]) == set(result.metrics["true"])
    with pytest.raises(ValueError, match="'lightgbm' is not among the models"):
        compare_rankers({"true": predictions}, labels, offsets, baseline="lightgbm", rng=rng)


def test_bad_predictions_are_refused_with_the_row():
    rng = np.random.default_rng(11)
    predictions, labels, offsets = funnel(rng, requests=5)
    predictions["ctr"][3] = np.inf
    with pytest.raises(ValueError, match="row 3 is not finite"):
        evaluate_ranker(predictions, labels, offsets, rng=rng)
