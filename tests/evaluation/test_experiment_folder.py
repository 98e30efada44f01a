"""A folder of experiments: decisions are whole or absent; what conflicts or cannot be read is a fault, not a loss."""

import os
from dataclasses import replace
from datetime import timedelta

import pytest

from evaluation.experiments.checks import check_experiment
from evaluation.experiments.conflicts import conflict
from evaluation.experiments.decisions import (
    DecisionKind,
    ExperimentDecision,
    ExperimentState,
    add_decision,
    decisions_file,
    read_decisions,
    state_after,
)
from evaluation.experiments.experiment_file import AssignmentUnit, Experiment, parse_experiment
from evaluation.experiments.experiment_folder import read_folder
from marketplace.finding import DataError
from marketplace.toml_model import as_model
from marketplace.toml_text import parse_toml
from tests.evaluation.test_experiment_file import EXAMPLE

EXPERIMENT = parse_experiment(EXAMPLE)
STEP = ExperimentDecision(DecisionKind.RAMP, EXPERIMENT.start, "watch", "safe", "v", 2, numbers={"ctr": None, "n": 3.0})
STOP = ExperimentDecision(DecisionKind.STOP, EXPERIMENT.end, "ada", "complaints", "v", variants=("clicks_up",))


def test_decisions_are_read_back_as_they_were_made_and_amount_to_a_state(tmp_path):
    for decision in (STEP, STOP):
        add_decision(tmp_path, "one", decision)
    path = decisions_file(tmp_path, "one")
    assert read_decisions(path) == (STEP, STOP)
    state = state_after((STEP, STOP))
    assert state == ExperimentState(2, {"clicks_up": STOP}, EXPERIMENT.start)
    assert (state.reasons, state.stops) == ({"clicks_up": "complaints"}, {"clicks_up": EXPERIMENT.end})
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert read_decisions(decisions_file(tmp_path, "none")) == ()
    path.write_text(path.read_text()[:-20])
    with pytest.raises(DataError, match=r"one\.decisions\.json.*cannot be read.*Mend it"):
        read_decisions(path)


def test_a_folder_keeps_what_was_last_good_of_a_file_and_follows_its_decisions(tmp_path):
    file = tmp_path / "clicks.toml"
    file.write_text(EXAMPLE)
    first = read_folder(tmp_path)
    assert (first["dearer_clicks"].experiment, first.faults) == (EXPERIMENT, {})
    file.write_text("name = ")
    add_decision(tmp_path, "dearer_clicks", STOP)
    second = read_folder(tmp_path, before=first)
    assert second["dearer_clicks"].over
    assert "not TOML" in second.faults["clicks.toml"]
    assert read_folder(tmp_path).experiments == ()
    file.write_text(EXAMPLE)
    decisions_file(tmp_path, "dearer_clicks").write_text("[")
    third = read_folder(tmp_path, before=second)
    assert third["dearer_clicks"].over
    assert "cannot be read" in third.faults["clicks.toml"]
    os.unlink(decisions_file(tmp_path, "dearer_clicks"))
    (tmp_path / "again.toml").write_text(EXAMPLE)
    assert "its own" in read_folder(tmp_path, before=first).faults["again.toml"]


def test_what_would_spoil_each_other_conflicts():
    other = replace(EXPERIMENT, name="other", layer=replace(EXPERIMENT.layer, low=0.5, high=1.0))
    apart = replace(other, layer=replace(other.layer, name="apart"))
    assert conflict(EXPERIMENT, other) is None
    assert "overlaps" in conflict(EXPERIMENT, replace(other, layer=EXPERIMENT.layer))
    assert "different units" in conflict(EXPERIMENT, replace(other, unit=AssignmentUnit.SESSION))
    assert "different salts" in conflict(EXPERIMENT, replace(other, layer=replace(other.layer, salt="x")))
    assert "change the policy" in conflict(EXPERIMENT, apart)
    assert conflict(EXPERIMENT, replace(apart, surfaces=("product_page",))) is None
    assert conflict(EXPERIMENT, replace(apart, start=EXPERIMENT.end)) is None


@pytest.mark.parametrize(
    ("before", "after", "rules"),
    [
        ("", "", []),
        ('[[guardrails]]                # relative to the control; a variant that breaks one is stopped\n'
         'metric = "net_gmv_per_user"\nat_least = -0.02              # or at_most, where less is better\n', "",
         ["guardrails"]),
        ("at_least = -0.02 ", "at_least = -0.05 ", ["guardrails"]),
        ('unit = "user"', 'unit = "session"', ["unit", "unit"]),
        ('unit = "user"', 'unit = "merchant"', ["unit", "unit"]),
        ("hours = 24", "hours = 240", ["ramp"]),
        ('policy = "policies/clicks_up.toml"', "", ["change"]),
    ],
)  # fmt: skip
def test_a_check_finds_what_would_harm_or_spoil(before, after, rules):
    assert before in EXAMPLE
    text = parse_toml(EXAMPLE.replace(before, after, 1), file="mine.toml")
    findings = [*check_experiment(as_model(text, Experiment), text, now=EXPERIMENT.start)]
    assert [finding.rule for finding in findings] == rules
    neighbour = replace(EXPERIMENT, name="neighbour")
    late = EXPERIMENT.end + timedelta(days=1)
    further = {one.rule for one in check_experiment(as_model(text, Experiment), text, others=[neighbour], now=late)}
    assert {"conflict", "time"} <= further
