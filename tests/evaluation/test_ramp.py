"""The ramp's rule: harm stops a variant, what is broken or missing holds it, steps are taken as the risk allows."""

from dataclasses import fields, replace
from datetime import timedelta
from pathlib import Path

import pytest

from evaluation.estimate import Estimate
from evaluation.experiments.decisions import DecisionKind, ExperimentState
from evaluation.experiments.effects import Missing
from evaluation.experiments.experiment_file import parse_experiment
from evaluation.experiments.experiment_folder import PlacedExperiment
from evaluation.experiments.guardrail_reading import GuardrailReading, GuardrailState
from evaluation.experiments.looks import look_of
from evaluation.experiments.ramp import ramp_move
from evaluation.experiments.reading import ExperimentReading
from evaluation.experiments.trust import TrustCheck, TrustLevel
from tests.evaluation.test_experiment_file import EXAMPLE

EXPERIMENT = parse_experiment(EXAMPLE)  # net_gmv_per_user >= -2 %, risk 1 %, steps 1, 5, 10, 25, 50 % of a day each
NOW = EXPERIMENT.start + timedelta(days=2)
GOOD = TrustCheck("sample ratio", TrustLevel.GOOD, "As promised.")


def move(
    change, *, state=GuardrailState.OPEN, step=0, stopped=(), units=500, trust=GOOD, now=NOW, experiment=EXPERIMENT
):
    """The move where the guardrail's relative change is (value, low, high), or missing with a reason."""
    relative = Missing(change) if isinstance(change, str) else Estimate(*change, n=2 * units)
    rails = tuple(GuardrailReading(rail, "clicks_up", relative, state) for rail in experiment.guardrails)
    look = look_of(experiment, as_of=now, best_at=1e4)
    counts = {"in_force": units, "clicks_up": units}
    known = {"experiment": experiment, "as_of": now, "look": look, "units": counts, "trust": (trust,)}
    rest = dict.fromkeys((field.name for field in fields(ExperimentReading)), ())
    reading = ExperimentReading(**rest | known | {"guardrails": rails})
    began = ExperimentState(step, dict.fromkeys(stopped, "it lost"), None if step == 0 else now - timedelta(days=1))
    return ramp_move(PlacedExperiment(Path("x.toml"), experiment, began), reading, now=now)


def test_what_surely_harms_is_stopped_with_its_numbers_whatever_else_is_wrong():
    broken = TrustCheck("sample ratio", TrustLevel.BROKEN, "Units were lost.")
    stop = move((-0.3, -0.6, -0.05), state=GuardrailState.HARMED, trust=broken, now=EXPERIMENT.start)
    assert (stop.decision.kind, stop.decision.variants, stop.decision.by) == (
        DecisionKind.STOP,
        ("clicks_up",),
        "watch",
    )
    assert "net_gmv_per_user by -30.0%, -5.0% at most at any look, beyond -2.0%" in stop.decision.reason
    assert stop.decision.numbers["net_gmv_per_user of clicks_up, high"] == -0.05
    assert stop.decision.numbers["units of in_force"] == 500
    few = move((-0.3, -0.6, -0.05), state=GuardrailState.HARMED, units=99)
    assert few.decision is None
    assert "99 units of 100" in few.sentence
    assert move((-0.3, -0.6, -0.05), state=GuardrailState.HARMED, stopped=["clicks_up"]).decision is None


@pytest.mark.parametrize(
    ("step", "low", "taken"),
    [(0, -0.19, True), (0, -0.21, False), (2, -0.03, True), (2, -0.05, False), (3, -0.019, True), (3, -0.021, False)],
)
def test_a_step_is_taken_where_share_times_the_worst_loss_is_within_the_risk(step, low, taken):
    next_step = move((0.0, low, 0.5), step=step)
    assert (next_step.decision is not None) == taken
    if taken:
        assert (next_step.decision.kind, next_step.decision.step) == (DecisionKind.RAMP, step + 1)
    else:
        assert "above the risk of 1.00%" in next_step.sentence


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"change": "fewer than 2 units in an arm"}, "missing: fewer than 2 units"),
        ({"trust": TrustCheck("sample ratio", TrustLevel.BROKEN, "Units were lost.")}, "sample ratio is broken"),
        ({"now": EXPERIMENT.start + timedelta(hours=23)}, "lasts until 2026-12-02 00:00 UTC"),
        ({"units": 99}, "99 units of 100"),
        ({"experiment": replace(EXPERIMENT, guardrails=())}, "no guardrail"),
    ],
)
def test_what_is_broken_missing_or_too_early_holds_the_ramp(changes, reason):
    held = move(**{"change": (0.0, -0.001, 0.5)} | changes)
    assert held.decision is None
    assert held.sentence.startswith("held: ")
    assert reason in held.sentence
    assert held.when >= EXPERIMENT.start


def test_nothing_moves_before_the_start_at_the_last_step_or_after_the_end():
    safe = (0.0, -0.001, 0.5)
    assert move(safe, now=EXPERIMENT.start - timedelta(days=1)).when == EXPERIMENT.start
    assert move(safe, now=EXPERIMENT.end).sentence == "ended"
    last = move(safe, step=4)
    assert (last.decision, last.when) == (None, EXPERIMENT.end)


def test_less_is_better_where_a_guardrail_says_at_most():
    fewer = parse_experiment(EXAMPLE.replace("at_least = -0.02 ", "at_most = 0.02 "))
    assert move((0.0, -0.5, 0.019), step=3, experiment=fewer).decision.kind is DecisionKind.RAMP
    assert move((0.0, -0.5, 0.021), step=3, experiment=fewer).decision is None
