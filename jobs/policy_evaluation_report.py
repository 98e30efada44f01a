"""A policy's evaluation in words, tables and JSON: for the screen, the page and other programs."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any

from evaluation.estimate import Estimate
from jobs.tune.sections import ESTIMATORS, Section, percent, unit_text
from value_model.formula import ValuePolicy
from value_model.tuning import Change
from value_model.tuning.policy_evaluation import PartEvaluation, PolicyEvaluation

ANSWERS = ("logged", "in_force", "proposed", "difference", "relative")


def verdict(evaluation: PolicyEvaluation) -> tuple[str, ...]:
    """The objective's change, or why nothing is promised; the first line is the verdict."""
    prediction, name = evaluation.prediction, evaluation.objective
    relative = prediction[name].relative
    lines = [f"Expected of {name}: {percent(relative)} against the policy in force. {prediction.reason.capitalize()}."]
    if prediction.problems:
        test = prediction.experiment
        tells = [] if test is None else [f"The experiment that would tell: {test}."]
        return ("Nothing is promised.", *(f"{problem}." for problem in prediction.problems), *lines, *tells)
    if relative.low == relative.high == 0:
        return ("It ranks as the policy in force does.", *lines)
    if relative.low > 0:
        return (f"Better for {name}.", *lines)
    return (f"Worse for {name}.", *lines) if relative.high < 0 else (f"Not proven either way for {name}.", *lines)


def sections(evaluation: PolicyEvaluation) -> tuple[Section, ...]:
    """Every metric everywhere, the estimators beside each other, the log's diagnostics, then each surface."""
    head = ("metric", "unit", "as it happened", "policy in force", "this policy", "difference", "relative")
    parts = [
        Section(
            name,
            f"{part.requests:,} requests, 95 % intervals, differences paired. {ESTIMATORS[part.prediction.estimator]}.",
            head,
            tuple(_row(part, change, evaluation.in_force) for change in part.prediction.changes.values()),
        )
        for name, part in evaluation.parts.items()
    ]
    return (parts[0], _estimators(evaluation), _diagnostics(evaluation), *parts[1:])


def _row(part: PartEvaluation, change: Change, policy: ValuePolicy) -> tuple[str, ...]:
    levels = (str(answer) for answer in _answers(part, change)[:4])
    return change.metric.name, unit_text(change.metric, policy), *levels, percent(change.relative)


def _answers(part: PartEvaluation, change: Change) -> tuple[Estimate, ...]:
    """As named in ANSWERS."""
    return part.logged[change.metric.name], change.now, change.proposed, change.difference, change.relative


def _estimators(evaluation: PolicyEvaluation) -> Section:
    name = evaluation.objective
    rows = tuple((ESTIMATORS[e], percent(prediction[name].relative)) for e, prediction in evaluation.estimates.items())
    caption = "Where they disagree, heads or propensities are wrong, or the log is too small to tell."
    return Section("The same question, by each estimator", caption, ("estimator", f"relative change of {name}"), rows)


def _diagnostics(evaluation: PolicyEvaluation) -> Section:
    return Section(
        "Can the log answer",
        "Of the weights that carry the log over to this policy; they average 1 where the propensities are true.",
        ("diagnostic", "value"),
        tuple((name, _text(value)) for name, value in diagnostics(evaluation).items()),
    )


def diagnostics(evaluation: PolicyEvaluation) -> dict[str, bool | float | Estimate]:
    """By name; shares are of the whole weight or exposure."""
    trust = evaluation.prediction.trust
    if trust.weights is None:
        return {"randomised": False}
    return {
        "randomised": True,
        "effective requests": trust.weights.effective,
        "mean weight": trust.weights.mean,
        "largest share of the weight in one request": trust.weights.largest_share,
        "share of the weight that is clipped": trust.clipped,
        "overlap: share of the exposure that the log supports": 1 - trust.unsupported,
        "shape of the weights' tail": trust.weights.tail_shape,
    }


def _text(value: bool | float | Estimate) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def to_json(evaluation: PolicyEvaluation, notes: Sequence[str]) -> dict[str, Any]:
    """Figures as numbers, null where they are not finite; estimates as {value, low, high, n, level}."""
    prediction = evaluation.prediction
    return {
        "policy": {"name": evaluation.proposed.name, "version": evaluation.proposed.version},
        "in_force": {"name": evaluation.in_force.name, "version": evaluation.in_force.version},
        "objective": evaluation.objective,
        "promised": prediction.promised,
        "problems": list(prediction.problems),
        "notes": list(notes),
        "estimator": prediction.estimator.value,
        "diagnostics": {name: _number(value) for name, value in diagnostics(evaluation).items()},
        "parts": {name: _part(part) for name, part in evaluation.parts.items()},
        "estimators": {
            e.value: {name: _number(change.difference) for name, change in p.changes.items()}
            for e, p in evaluation.estimates.items()
        },
    }


def _part(part: PartEvaluation) -> dict[str, Any]:
    metrics = {
        name: {"unit": change.metric.unit} | dict(zip(ANSWERS, map(_number, _answers(part, change)), strict=True))
        for name, change in part.prediction.changes.items()
    }
    return {"requests": part.requests, "estimator": part.prediction.estimator.value, "metrics": metrics}


def _number(value: bool | float | Estimate) -> Any:
    if isinstance(value, Estimate):
        return {name: _number(getattr(value, name)) for name in ("value", "low", "high", "n", "level")}
    return value if isfinite(value) else None
