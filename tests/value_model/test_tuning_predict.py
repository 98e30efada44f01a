"""Predictions of other weights: unbiased, paired, and refused where the log cannot answer."""

from dataclasses import replace

import numpy as np
import pytest
from tuning_toy import POLICY, market, served, true_scores

from value_model.tuning import Estimator, PolicyScorer, PredictConfig, predict
from value_model.tuning.experiment import propose, requests_per_arm

OTHER = {"w_gmv": 0.2}


def truth_of(truth, metric: str) -> float:
    return float(true_scores(truth, {"w_gmv": np.array([0.2])})[metric].change[0])


def many_logs(estimator: Estimator, *, logs: int = 30):
    """(estimates [logs], truth) of the change of ctr, on the same 300 requests."""
    rng = np.random.default_rng(5)
    truth = market(rng, requests=300, wrong=0.6)
    config = PredictConfig(intervals=replace(PredictConfig().intervals, skewed=np.inf))
    estimates = [
        predict(served(truth, POLICY, rng), POLICY, OTHER, rng=rng, estimator=estimator, config=config)["ctr"]
        for _ in range(logs)
    ]
    return np.array([c.difference.value for c in estimates]), truth_of(truth, "ctr")


@pytest.mark.slow
def test_ips_and_dr_hit_the_truth_on_average_though_the_heads_are_wrong() -> None:
    for estimator in (Estimator.IPS, Estimator.DR):
        estimates, truth = many_logs(estimator)
        assert abs(estimates.mean() - truth) < 4 * estimates.std() / np.sqrt(len(estimates))
    opinion, truth = many_logs(Estimator.DIRECT, logs=1)
    assert abs(opinion[0] - truth) > 4 * estimates.std() / np.sqrt(len(estimates))  # which the heads alone would fail


def test_good_heads_make_dr_surer_than_ips() -> None:
    rng = np.random.default_rng(6)
    log = served(market(rng, requests=3000), POLICY, rng)
    error = [
        PolicyScorer(log, POLICY, estimator=e).scores({"w_gmv": np.array([0.2])})["ctr"].change_error[0]
        for e in (Estimator.DR, Estimator.IPS)
    ]
    assert error[0] < error[1]


def test_the_same_weights_change_nothing_at_all() -> None:
    rng = np.random.default_rng(7)
    answer = predict(served(market(rng, requests=500), POLICY, rng), POLICY, {}, rng=rng)
    for change in answer.changes.values():
        assert change.difference.value == pytest.approx(0, abs=1e-15)
        assert change.now.value == change.proposed.value


def test_levels_of_the_logging_policy_are_what_was_logged() -> None:
    """Asked about its own Plackett-Luce ranking, IPS must give back the log's own clicks, within its noise."""
    rng = np.random.default_rng(8)
    log = served(market(rng, requests=4000), POLICY, rng, temperature=0.1)
    config = PredictConfig(temperature=0.1)
    answer = predict(log, POLICY, {}, rng=rng, estimator=Estimator.IPS, config=config)["ctr"].now
    logged = log.feedback["click"].sum() / log.shown.sum()
    assert answer.value == pytest.approx(logged, rel=0.03)


def test_a_log_without_randomness_gives_an_opinion_and_an_experiment() -> None:
    rng = np.random.default_rng(9)
    log = replace(served(market(rng, requests=800), POLICY, rng), exposure=None)
    answer = predict(log, POLICY, OTHER, rng=rng, config=PredictConfig(requests_per_day=10_000))
    assert answer.estimator is Estimator.DIRECT
    assert not answer.promised
    assert "not randomised" in answer.problems[0]
    experiment = answer.experiment
    assert experiment is not None
    assert [arm["w_gmv"] for arm in experiment.arms] == [0.002, pytest.approx(0.02), 0.2]
    assert experiment.days == pytest.approx(3 * experiment.requests_per_arm / 10_000)
    with pytest.raises(ValueError, match="randomised log"):
        predict(log, POLICY, OTHER, rng=rng, estimator=Estimator.DR)


def test_weights_beyond_their_owners_bounds_are_refused() -> None:
    rng = np.random.default_rng(10)
    answer = predict(served(market(rng, requests=2000), POLICY, rng), POLICY, {"w_click": 11.0}, rng=rng)
    assert answer.problems == ("w_click is 11; its owner allows 0 to 10",)
    assert answer.experiment is not None
    assert answer.experiment.arms[-1]["w_click"] == 10


def test_a_ranking_that_was_hardly_ever_shown_is_refused() -> None:
    rng = np.random.default_rng(11)
    log = served(market(rng, requests=2000), POLICY, rng, temperature=0.005)
    turned = predict(log, POLICY, {"w_click": 0.0, "w_new": 5.0}, rng=rng)
    assert any("hardly ever shown" in problem for problem in turned.problems)
    assert turned.estimator is Estimator.DIRECT
    assert predict(log, POLICY, {"w_click": 1.01}, rng=rng).promised


def test_a_handful_of_requests_is_refused() -> None:
    rng = np.random.default_rng(12)
    answer = predict(served(market(rng, requests=60), POLICY, rng), POLICY, OTHER, rng=rng)
    assert "effective requests" in answer.problems[0]


def test_exposure_that_cannot_be_the_logs_is_an_error() -> None:
    rng = np.random.default_rng(13)
    log = served(market(rng, requests=50), POLICY, rng)
    with pytest.raises(ValueError, match="not that of the policy that logged"):
        replace(log, exposure=np.zeros_like(log.exposure))


def test_size_of_an_experiment_is_the_textbooks() -> None:
    # 2 * 1 * (1.960 + 0.842)^2 / 0.1^2; with three arms each pair is tested at 5 % / 3.
    assert requests_per_arm(1.0, 0.1) == 1570
    assert requests_per_arm(1.0, 0.1, arms=3) == pytest.approx(2 * (2.394 + 0.8416) ** 2 / 0.01, rel=1e-3)


def test_between_policies_of_other_weights_there_is_no_half_way():
    proposal = propose(np.array([0.0, 1.0]), {"w_order": 1.0}, {"w_net": 2.0}, effect=0.1)
    assert proposal.arms == ({"w_order": 1.0}, {"w_net": 2.0})
    assert proposal.requests_per_arm == requests_per_arm(0.25, 0.1, arms=2)
