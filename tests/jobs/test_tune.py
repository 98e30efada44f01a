"""`value-model tune`: promises and refusals, what is written, and the same question going on where it stopped."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import optuna
import pytest
from click.testing import CliRunner
from desk_toy import POLICY, toy

from desk.desk import Desk
from desk.verdict import tuning_verdict
from jobs.cli import cli
from jobs.run_evidence import RunEvidence
from jobs.tune.request import tune_request
from value_model.formula import BoundKind, Constraint, load_policy, to_toml
from value_model.formula.metrics import NAMES
from value_model.policy_checks import check_policy
from value_model.tuning import Dimension, PredictConfig, predict
from value_model.tuning.recorded_evidence import NOT_RANDOMISED

HELD = Constraint("ctr", at_least=-0.05, of=BoundKind.RELATIVE, owner="growth", reason="Clicks keep shoppers.")
CONSTRAINED = replace(POLICY, constraints=(HELD,))


@pytest.fixture
def log(tmp_path, monkeypatch):
    """What `tune` finds in the run: a randomised log of a tiny market, whose policy holds clicks."""
    evidence = toy(tmp_path, requests=2400).evidence
    run = RunEvidence(None, CONSTRAINED, None, None, evidence, 1e4, ("A note.",))
    monkeypatch.setattr("jobs.tune.job.run_evidence", lambda folder, **_: run)
    return run


def ask(tmp_path, *options):
    return CliRunner().invoke(cli, ["tune", str(tmp_path / "small"), "--out", str(tmp_path / "out"), *options])


def trials(tmp_path):
    storage = f"sqlite:///{tmp_path / 'out' / 'study.db'}"
    return {s.study_name: len(optuna.load_study(study_name=s.study_name, storage=storage).trials)
            for s in optuna.get_all_study_summaries(storage)}  # fmt: skip


def test_a_promise_is_a_policy_file_and_a_page(log, tmp_path):
    result = ask(tmp_path, "--maximise", "newcomer_exposure", "--trials", "48")
    assert result.exit_code == 0, result.output
    assert "Promised: newcomer_exposure +" in result.output
    assert "proven on 1,200 requests that the search never saw" in result.output
    assert "Held: relative change of ctr at least -0.05 at 95%." in result.output
    assert f"--base {CONSTRAINED.version}" in result.output
    policy = load_policy(tmp_path / "out" / "policy.toml")
    assert policy.constraints == (HELD,)
    moved = [w for w in policy.weights if w.value != POLICY.weight[w.name].value]
    assert moved
    for weight in moved:
        assert weight.reason.startswith("Tuned to maximise newcomer_exposure on 2,400 requests of small; was ")
        assert weight.owner == POLICY.weight[weight.name].owner
    assert [f for f in check_policy(policy, slates=log.evidence.slates) if f.severity == "error"] == []
    change = predict(log.evidence, POLICY, policy, rng=np.random.default_rng(0), config=PredictConfig(objective="ctr"))
    assert change["newcomer_exposure"].difference.low > 0
    assert change["ctr"].relative.value > -0.05
    page = (tmp_path / "out" / "report.html").read_text()
    for part in ("Promised:", "A note.", "Predicted changes", "GREEN", "What constraints cost", "Sensitivity",
                 "Influence of each term", "Pareto front", "data:image/svg+xml", "one click is worth SAR"):  # fmt: skip
        assert part in page, part
    assert page.index("Promised:") < page.index("Predicted changes")


@pytest.mark.slow
def test_the_same_question_goes_on_and_another_begins(log, tmp_path):
    ask(tmp_path, "--maximise", "newcomer_exposure", "--trials", "16")
    (first,) = trials(tmp_path).items()
    ask(tmp_path, "--maximise", "newcomer_exposure", "--trials", "24")
    assert trials(tmp_path) == {first[0]: 24}
    ask(tmp_path, "--maximise", "newcomer_exposure", "--hold", "ctr >= -6%", "--trials", "8")
    assert sorted(trials(tmp_path).values()) == [8, 24]


def test_a_refusal_says_why_proposes_the_experiment_and_leaves_no_policy_behind(log, tmp_path, monkeypatch):
    assert ask(tmp_path, "--maximise", "newcomer_exposure", "--trials", "32").exit_code == 0
    blind = replace(log, evidence=replace(log.evidence, exposure=None), notes=(NOT_RANDOMISED,))
    monkeypatch.setattr("jobs.tune.job.run_evidence", lambda folder, **_: blind)
    result = ask(tmp_path, "--maximise", "newcomer_exposure", "--trials", "32")
    assert result.exit_code == 1
    for words in (
        "Nothing is promised: keep today's weights.",
        "the log was not randomised",
        "The experiment that would tell: 3 arms of",
    ):
        assert words in result.output
    assert "days at today's traffic" in result.output
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Arms of the experiment" in page
    assert not (tmp_path / "out" / "policy.toml").exists()


def test_a_constraint_of_the_file_that_was_not_asked_for_is_told_when_it_breaks(log, tmp_path):
    result = ask(tmp_path, "--maximise", "newcomer_exposure", "--hold", "ctr >= -90%", "--trials", "32")
    assert result.exit_code == 0
    assert "in the policy file but not asked for here: relative change of ctr at least -0.05" in result.output


@pytest.mark.slow
def test_weights_of_each_surface_are_overrides_of_the_file(log, tmp_path):
    result = ask(tmp_path, "--maximise", "newcomer_exposure", "--by", "surface", "--trials", "24", "--weights", "w_new")
    assert result.exit_code == 0, result.output
    policy = load_policy(tmp_path / "out" / "policy.toml")
    assert {o.key for o in policy.weight["w_new"].surface} <= {"home", "search"}
    assert policy.weight["w_click"] == POLICY.weight["w_click"]


@pytest.mark.slow
def test_the_notebook_gives_the_same_verdict_and_front(log, tmp_path):
    """Its search sees every request, though its sliders move on some."""
    result = ask(tmp_path, "--maximise", "newcomer_exposure", "--front", "ctr,newcomer_exposure")
    material = toy(tmp_path, requests=2400)
    few = material.evidence.take(np.arange(0, 2400, 4))
    names = replace(material.names, item=material.names.item[::4], merchant=material.names.merchant[::4])
    desk = Desk(replace(material, policy=CONSTRAINED, evidence=few, whole=log.evidence, names=names))
    explored = desk.explore(("ctr", "newcomer_exposure"))
    for line in tuning_verdict(explored.tuned):
        assert line in result.output
    point = explored.front.change("newcomer_exposure", 0, requests=1200)
    assert f"{100 * point.value:+.2f} % [{100 * point.low:+.2f}" in result.output.replace("\n", "")


def test_questions_are_read_from_the_options(log):
    evidence = log.evidence
    request = tune_request(evidence, CONSTRAINED, maximise="newcomer_exposure")
    assert (request.goal.constraints, request.names, request.by) == ((HELD,), ("w_click", "w_new"), None)
    assert request.front == ("ctr", "newcomer_exposure")
    hold = ["newcomer_exposure >= 0.1"]
    segmented = tune_request(evidence, CONSTRAINED, maximise="ctr", hold=hold, weights="w_new,", by="segment")
    assert (segmented.names, segmented.by, segmented.front) == (
        ("w_new",),
        Dimension.SEGMENT,
        ("newcomer_exposure", "ctr"),
    )
    assert segmented.goal.constraints == (Constraint("newcomer_exposure", at_least=0.1),)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"maximise": "gmv"}, "the log tells nothing of 'gmv'; it tells of ctr, newcomer_exposure"),
        ({"hold": ["cvr >= -1%"]}, "nothing of 'cvr'"),
        ({"hold": ["ctr > 0"]}, "cannot be read"),
        ({"front": "ctr"}, "a front needs two metrics or more; received 'ctr'"),
        ({"front": "ctr,sales"}, "nothing of 'sales'"),
        ({"weights": "w_clik"}, r"weights \['w_clik'\] cannot be searched; policy 'toy' has w_click, w_new"),
        ({"trials": 0}, "trials is 0"),
    ],
)
def test_what_cannot_be_asked_is_told(log, options, words):
    with pytest.raises(ValueError, match=words):
        tune_request(log.evidence, CONSTRAINED, **({"maximise": "ctr"} | options))


def test_help_names_every_metric():
    text = " ".join(CliRunner().invoke(cli, ["tune", "--help"]).output.split())
    assert ", ".join(NAMES) in text


def test_tuning_never_imports_a_model_library():
    names = "('tensorflow', 'tf_keras', 'lightgbm', 'scann')"
    code = f"import sys, jobs.tune.job; print([m for m in {names} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


@pytest.mark.xdist_group("run")
def test_a_run_is_tuned_and_another_policy_can_be_given(run_folder, tmp_path):
    before = {path: path.read_bytes() for path in run_folder.rglob("*") if path.is_file()}
    path = tmp_path / "mine.toml"
    path.write_text(to_toml(replace(load_policy(run_folder / "bundle" / "policy.toml"), name="mine")))
    options = ["--policy", str(path), "--trials", "16", "--out", str(tmp_path)]
    result = CliRunner().invoke(cli, ["tune", str(run_folder), *options])
    assert result.exit_code == 1, result.output
    assert "Nothing is promised" in result.output  # a small log
    assert "Weights of mine for gmv" in (tmp_path / "report.html").read_text()
    assert before == {path: path.read_bytes() for path in run_folder.rglob("*") if path.is_file()}
