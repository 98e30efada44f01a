"""The watcher decides by the log, the record says why, status tells it, and a service's folder is checked before."""

import json
from datetime import timedelta

import pytest
from click.testing import CliRunner

from evaluation.experiments.decisions import DecisionKind, decisions_file, read_decisions
from evaluation.experiments.experiment_file import Experiment
from evaluation.experiments.experiment_folder import Phase, read_folder
from evaluation.experiments.unit_table import unit_table
from jobs.check_experiment import link_alone, log_findings
from jobs.cli import cli
from jobs.experiment_log import ExperimentLog
from jobs.experiment_watch import ExperimentWatcher, decide, watch
from marketplace.attribution import attribute
from marketplace.slate import table_to_slates
from marketplace.sqlite_log import SqliteLog
from marketplace.toml_model import as_model
from marketplace.toml_text import parse_toml
from tests.jobs.test_read_experiment import FILE, world

RAILS = FILE[FILE.index("[[guardrails]]") :]
CLICKS = '[[guardrails]]\nmetric = "ctr"\n{bound}\n\n[ramp]\nsteps = [0.1, 0.25, 0.5]\nhours = 24\nrisk = 0.1\n'


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """A log in which the variant `clear` is clicked far more."""
    _, slates, feedback, _ = world()
    path = tmp_path_factory.mktemp("watch") / "log.sqlite"
    kept = SqliteLog(path)
    for slate in table_to_slates(slates):
        kept.append(slate)
    kept.append_feedback(feedback)
    kept.close()
    return path


@pytest.fixture
def run(tmp_path):
    """A run's folder whose one experiment has the guardrail `bound` on ctr."""

    def write(bound):
        (tmp_path / "experiments").mkdir(exist_ok=True)
        text = FILE.replace(RAILS, CLICKS.format(bound=bound))
        (tmp_path / "experiments" / "clearer_pictures.toml").write_text(text)
        return tmp_path

    return write


def decided(folder):
    return read_decisions(decisions_file(folder / "experiments", "clearer_pictures"))


def test_what_harms_is_stopped_once_and_everybody_is_told_why(run, log, capsys):
    folder, now = run("at_most = 0.05"), world()[0].end - timedelta(hours=1)
    assert watch(folder, log=log, clock=lambda: now) == 0
    (stop,) = decided(folder)
    assert (stop.kind, stop.time, stop.variants) == (DecisionKind.STOP, now, ("clear",))
    assert "clear changes ctr by +" in stop.reason
    assert stop.numbers["ctr of clear, low"] > 0.05
    assert f"clearer_pictures: {stop.reason}" in capsys.readouterr().out
    watch(folder, log=log, clock=lambda: now)
    assert decided(folder) == (stop,)
    assert read_folder(folder / "experiments")["clearer_pictures"].phase(now) is Phase.STOPPED
    answer = CliRunner().invoke(cli, ["experiment", "status", str(folder), "--json", str(folder / "status.json")])
    assert answer.exit_code == 0, answer.output
    assert "stop by watch: stopped: clear changes ctr" in answer.output
    assert json.loads((folder / "status.json").read_text())["experiments"]["clearer_pictures"]["phase"] == "stopped"


def test_what_is_safe_ramps_a_step_a_day_to_its_last(run, log):
    folder, first = run("at_least = -0.1"), world()[0].start + timedelta(days=14)
    watcher = ExperimentWatcher(log)
    for hours, step in ((0, 1), (12, 1), (24, 2), (48, 2)):
        (watched,) = watcher.look(read_folder(folder / "experiments"), now=first + timedelta(hours=hours))
        decide(folder, watched)
        assert [decision.step for decision in decided(folder)][-1] == step
    assert [decision.kind for decision in decided(folder)] == [DecisionKind.RAMP] * 2
    assert "within the risk of 10.00%" in decided(folder)[0].reason


def test_a_log_that_is_read_on_says_what_a_whole_one_says(tmp_path):
    experiment, slates, feedback, _ = world()
    since, part = experiment.start - timedelta(days=99), slates.slice(len(slates) - 200)
    kept, followed = SqliteLog(tmp_path / "log.sqlite"), ExperimentLog(tmp_path / "log.sqlite", since=since)
    assert followed.joined() is None
    for half in (part.slice(0, 90), part.slice(90)):
        for slate in table_to_slates(half):
            kept.append(slate)
        assert len(followed.joined().slates) in (90, 200)
    kept.append_feedback(feedback)
    kept.close()
    units, expected = (unit_table(joined, experiment) for joined in (followed.joined(), attribute(part, feedback)))
    assert units.counts().tolist() == expected.counts().tolist()
    for name, column in expected.columns.items():
        assert units.columns[name].tolist() == column.tolist()


def test_what_fails_to_be_computed_holds_and_is_said(run, tmp_path, capsys, monkeypatch):
    folder, now = run("at_least = -0.1"), world()[0].start + timedelta(days=1)
    watch(folder, clock=lambda: now)
    SqliteLog(folder / "log.sqlite").close()
    watch(folder, clock=lambda: now)
    (folder / "log.sqlite").write_text("no log")
    watch(folder, clock=lambda: now)
    said = capsys.readouterr().out
    assert said.count("held: no slate is logged yet") == 2
    assert "cannot be read" in said
    (folder / "experiments" / "torn.toml").write_text("name = ")
    assert watch(folder, clock=lambda: now - timedelta(days=9)) == 1
    said = capsys.readouterr().out
    assert "clearer_pictures: waits for its start" in said
    assert "torn.toml" in said
    assert decided(folder) == ()


def test_a_person_stops_it_with_name_and_reason(run):
    folder = run("at_least = -0.1")
    words = ["experiment", "stop", str(folder), "clearer_pictures", "--by", "ada", "--why", "complaints"]
    assert CliRunner().invoke(cli, words).exit_code == 0
    (stop,) = decided(folder)
    assert (stop.by, stop.reason, stop.variants) == ("ada", "complaints", ("clear",))
    missing = CliRunner().invoke(cli, [*words[:3], "clearer", *words[4:]])
    assert "no experiment 'clearer'; it holds clearer_pictures" in str(missing.exception)


def test_a_check_by_the_log_finds_what_is_not_recorded_and_days_that_are_too_few(log):
    text = FILE.replace('metric = "cvr"', 'metric = "newcomer_share"').replace('primary = "ctr"', 'primary = "cvr"')
    text = parse_toml(text.replace("minimum_effect = 0.1", "minimum_effect = 0.001"), file="x")
    experiment = as_model(text, Experiment)
    found = {finding.rule: str(finding) for finding in log_findings(experiment, text, log.parent)}
    assert "no newcomer impressions: newcomer_share could not be computed" in found["metrics"]
    assert "not the 0.1% that it is about" in found["power"]


def test_a_check_names_what_is_missing_before_anyone_is_harmed(run, log):
    folder = run("at_least = -0.1")
    file = folder / "experiments" / "clearer_pictures.toml"
    file.write_text(file.read_text().replace('surfaces = "clear.toml"', 'policy = "defualt"'))
    answer = CliRunner().invoke(cli, ["check-experiment", str(file)])
    assert answer.exit_code == 1
    assert "clear names 'defualt', no file or shipped policy" in answer.output
    assert "Did you mean 'default'" in answer.output
    assert "it ended 2025-02-17" in answer.output
    file.write_text(file.read_text().replace("hypothesis", "hypotesis"))
    assert "unknown field 'hypotesis'" in CliRunner().invoke(cli, ["check-experiment", str(file)]).output


def test_the_engine_is_asked_of_the_file_alone_whatever_lies_beside_it(tmp_path):
    file, alone = tmp_path / "here" / "clearer.toml", tmp_path / "alone"
    for place in (file.parent, alone):
        place.mkdir()
    text = FILE.replace('surfaces = "clear.toml"', 'policy = "policies/clear.toml"')
    assert "policies/clear.toml" in text
    for name in ("clearer.toml", "a_clashing_draft.toml"):
        (file.parent / name).write_text(text)
    (file.parent / "run.toml").write_text("[training]\nepochs = 30\n")
    (file.parent / "policies").mkdir()
    (file.parent / "policies" / "clear.toml").write_text("a policy")
    assert len(read_folder(file.parent).faults) == 2
    link_alone(file, as_model(parse_toml(text, file="x"), Experiment), alone)
    content = read_folder(alone)
    assert [one.file.name for one in content.experiments] == ["clearer.toml"]
    assert content.faults == {}
    assert (alone / "policies" / "clear.toml").read_text() == "a policy"
