"""`value-model evaluate-policy`: nothing changed is exactly nothing, worse is told to be worse, the blind say so."""

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from desk_toy import POLICY, toy
from tuning_toy import POLICY as MARKET_POLICY
from tuning_toy import market, served

from jobs import cli
from jobs.evaluate_policy import evaluate
from jobs.run_evidence import RunEvidence
from value_model.formula import load_policy, parse_policy, to_toml
from value_model.tuning import Estimator
from value_model.tuning.policy_evaluation import EVERYWHERE, evaluate_policy, logged_sums
from value_model.tuning.scoring import PolicyScorer


@pytest.fixture
def log(tmp_path, monkeypatch):
    """What the job reads of the run: a randomised log of a tiny market."""
    evidence = toy(tmp_path, requests=1200).evidence
    run = RunEvidence(None, POLICY, None, None, evidence, 1e4, ("A note.",))
    monkeypatch.setattr("jobs.evaluate_policy.run_evidence", lambda folder, **_: run)
    monkeypatch.setattr("jobs.run_evidence.logged_slates", lambda slates, policy: evidence.slates)
    return run


def figures(tmp_path, policy):
    (tmp_path / "mine.toml").write_text(to_toml(policy))
    answer = evaluate(tmp_path, tmp_path / "mine.toml", json_file=tmp_path / "figures.json")
    assert answer == 0
    return json.loads((tmp_path / "figures.json").read_text())


def test_the_policy_in_force_changes_exactly_nothing_and_the_log_s_own_level_stands_beside_it(log, tmp_path, capsys):
    judged = figures(tmp_path, POLICY)
    assert set(judged["parts"]) == {EVERYWHERE, "home", "search"}
    for name, part in judged["parts"].items():
        evidence = log.evidence if name == EVERYWHERE else log.evidence.take(log.evidence.slates.surface == name)
        assert part["requests"] == len(evidence)
        for metric in part["metrics"].values():
            assert [metric["difference"][edge] for edge in ("value", "low", "high")] == [0, 0, 0]
            assert metric["proposed"] == metric["in_force"]
        clicks = evidence.feedback["click"].sum() / evidence.shown.sum()
        assert part["metrics"]["ctr"]["logged"]["value"] == pytest.approx(clicks, rel=1e-12)
    assert "It ranks as the policy in force does." in capsys.readouterr().out


def test_a_worse_policy_is_told_to_be_worse(log, tmp_path, capsys):
    judged = figures(tmp_path, POLICY.with_weights({"w_new": 5.0}))
    ctr = judged["parts"][EVERYWHERE]["metrics"]["ctr"]
    assert ctr["difference"]["high"] < 0
    assert ctr["proposed"]["value"] - ctr["in_force"]["value"] == pytest.approx(ctr["difference"]["value"])
    assert judged["promised"]
    page = (tmp_path / "policy_evaluation.html").read_text()
    for part in ("Worse for ctr.", "A note.", "effective requests", "share of the weight that is clipped", "search"):
        assert part in page, part
    assert "Worse for ctr." in capsys.readouterr().out


def test_truth_of_a_market_lies_in_the_intervals_and_every_estimator_is_asked():
    rng = np.random.default_rng(3)
    truth = market(rng, requests=3000)
    worse = MARKET_POLICY.with_weights({"w_new": 2.0})
    evaluation = evaluate_policy(served(truth, MARKET_POLICY, rng), MARKET_POLICY, worse, rng=rng)
    scorer = PolicyScorer(truth, MARKET_POLICY, estimator=Estimator.DIRECT)
    true = scorer.scores({"w_new": np.array([2.0])})["ctr"].change[0]
    change = evaluation.prediction["ctr"].difference
    assert true < 0
    assert change.high < 0
    assert change.low <= true <= change.high
    assert set(evaluation.estimates) == set(Estimator)
    for prediction in evaluation.estimates.values():
        assert prediction["ctr"].difference.value == pytest.approx(true, abs=0.01)


def test_a_log_that_was_not_randomised_promises_nothing(log, tmp_path, monkeypatch):
    blind = replace(log, evidence=replace(log.evidence, exposure=None))
    monkeypatch.setattr("jobs.evaluate_policy.run_evidence", lambda folder, **_: blind)
    judged = figures(tmp_path, POLICY.with_weights({"w_new": 0.2}))
    assert not judged["promised"]
    assert judged["diagnostics"] == {"randomised": False}
    assert set(judged["estimators"]) == {"direct"}
    page = (tmp_path / "policy_evaluation.html").read_text()
    assert "Nothing is promised." in page
    assert "The experiment that would tell" in page


def test_what_happened_is_summed_not_estimated(log):
    sums = logged_sums(log.evidence)
    assert sums["click"].sum() == log.evidence.feedback["click"].sum()
    assert (sums["newcomer"] <= sums["examined"] + 1e-12).all()
    assert sums["examined"] == pytest.approx(log.evidence.examination.sum(axis=1))


def test_clipping_takes_weight_only_where_logging_hardly_ever_shows(log):
    from value_model.tuning.trust import TrustConfig, trust

    evidence = log.evidence
    assert trust(evidence, evidence.exposure, outcome="click", config=TrustConfig()).clipped == 0
    rare = replace(evidence, exposure=np.where(evidence.position == 1, 1e-4, evidence.exposure))
    assert 0.5 < trust(rare, evidence.exposure, outcome="click", config=TrustConfig()).clipped < 1


def test_a_policy_that_cannot_be_read_exits_with_2(log, tmp_path, monkeypatch, capsys):
    (tmp_path / "broken.toml").write_text("value = 1\n")
    monkeypatch.setattr("sys.argv", ["value-model", "evaluate-policy", str(tmp_path), str(tmp_path / "broken.toml")])
    with pytest.raises(SystemExit) as exit:
        cli.main()
    assert exit.value.code == 2
    assert "value-model:" in capsys.readouterr().err


@pytest.mark.xdist_group("run")
def test_another_policy_is_judged_on_a_run(run_folder, tmp_path):
    policy = load_policy(run_folder / "bundle" / "policy.toml")
    other = parse_policy(to_toml(replace(policy, name="other").with_weights({"w_quality": 0.0})))
    (tmp_path / "other.toml").write_text(to_toml(other))
    options = ["--json", str(tmp_path / "f.json"), "--out", str(tmp_path / "page.html")]
    result = CliRunner().invoke(cli.cli, ["evaluate-policy", str(run_folder), str(tmp_path / "other.toml"), *options])
    assert result.exit_code == 0, result.output
    judged = json.loads((tmp_path / "f.json").read_text())
    assert judged["policy"]["name"] == "other"
    quality = judged["parts"][EVERYWHERE]["metrics"]["merchant_quality"]
    assert quality["difference"]["low"] < quality["difference"]["value"] < quality["difference"]["high"]
    assert quality["proposed"]["value"] != quality["in_force"]["value"]
    assert judged["diagnostics"]["randomised"]
