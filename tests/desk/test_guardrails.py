"""Lights of guardrails: each is reached, by what its words say and nothing else."""

import pytest
from desk_toy import POLICY, toy

from desk.guardrails import GuardrailStatus, guardrail_results, guardrails_of
from evaluation.counterfactual.intervals import PolicyEstimate
from value_model.formula import default_policy
from value_model.formula.metrics import STANDARD
from value_model.tuning import BoundKind, Change, Constraint, Estimator, Prediction
from value_model.tuning.trust import Trust

CTR = next(metric for metric in STANDARD if metric.name == "ctr")
FLOOR = Constraint("ctr", at_least=-0.02, of=BoundKind.RELATIVE)
CEILING = Constraint("ctr", at_most=0.02, of=BoundKind.RELATIVE)


def prediction(low, value, high, *, problems=()):
    """A relative change of clicks with its interval, promised or not."""
    unknown, relative = PolicyEstimate(0.1, 0.1, 0.1, 9), PolicyEstimate(value, low, high, 9)
    change = Change(CTR, unknown, unknown, relative, relative)
    return Prediction({"ctr": change}, Estimator.DR, "", Trust(problems), problems, None)


@pytest.mark.parametrize(
    ("change", "problems", "status", "words"),
    [
        ((-0.01, 0.0, 0.01), (), GuardrailStatus.GREEN, "holds"),
        ((-0.05, 0.0, 0.05), (), GuardrailStatus.AMBER, "expected to hold, not proven"),
        ((-0.01, 0.0, 0.01), ("a small log",), GuardrailStatus.AMBER, "the heads say so, the log cannot"),
        ((0.0, 0.0, 0.0), ("a small log",), GuardrailStatus.GREEN, "holds"),
        ((-0.05, -0.03, 0.0), (), GuardrailStatus.RED, "expected to break"),
        ((-0.05, -0.03, 0.0), ("a small log",), GuardrailStatus.RED, "expected to break"),
    ],
)
@pytest.mark.parametrize("side", [1, -1])
def test_every_status_is_reached_from_either_side(change, problems, status, words, side):
    guardrail = FLOOR if side > 0 else CEILING
    low, value, high = sorted(side * x for x in change)
    (result,) = guardrail_results(prediction(low, value, high, problems=problems), [guardrail])
    assert result.status is status
    assert result.reason == f"{words}: {guardrail}"


def test_the_bound_itself_is_no_break():
    (result,) = guardrail_results(prediction(-0.02, -0.02, -0.02), [FLOOR])
    assert result.status is GuardrailStatus.GREEN


def test_more_confidence_never_turns_a_light_greener():
    order = list(GuardrailStatus)
    for low in (-0.05, -0.03, -0.021, -0.01):
        held = [Constraint("ctr", at_least=-0.02, of=BoundKind.RELATIVE, confidence=c) for c in (0.6, 0.8, 0.95, 0.99)]
        reached = [order.index(result.status) for result in guardrail_results(prediction(low, 0.0, 0.02), held)]
        assert reached == sorted(reached)


def test_a_metric_that_the_log_does_not_know_has_no_light():
    assert guardrail_results(prediction(0, 0, 0), [Constraint("gmv", at_least=1.0)]) == ()


def test_guardrails_are_the_files_or_the_shipped_ones(tmp_path):
    assert guardrails_of(POLICY) == default_policy().constraints
    assert guardrails_of(default_policy()) == default_policy().constraints
    assert toy(tmp_path).policy.constraints == ()
