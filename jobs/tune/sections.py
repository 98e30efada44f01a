"""Tuning report in words and tables, for the screen and the page alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite

import numpy as np

from desk.guardrails import GuardrailResult, GuardrailStatus
from desk.verdict import tuning_verdict
from evaluation.estimate import Estimate
from jobs.tune.tuning_report import TuningReport
from value_model.formula import ValuePolicy, Weight
from value_model.formula.weights_in_money import weights_in_money
from value_model.tuning import Estimator, Metric

ESTIMATORS = {
    Estimator.DIRECT: "The heads' own opinion",
    Estimator.IPS: "What happened, weighted by exposure",
    Estimator.DR: "The heads, corrected by what happened",
}
POINTS = 12  # of the front, in its table


@dataclass(frozen=True)
class Section:
    """A table under a title; `caption` explains how to read it."""

    title: str
    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def verdict(report: TuningReport) -> tuple[str, ...]:
    """What is promised, or why nothing is and what would tell; the first line is the verdict."""
    broken = [str(row.constraint) for row in _not_held(report) if row.status is GuardrailStatus.RED]
    if not report.tuned.advised or not broken:
        return tuning_verdict(report.tuned)
    warning = f"Expected to break, in the policy file but not asked for here: {'; '.join(broken)}."
    return (*tuning_verdict(report.tuned), warning)


def _not_held(report: TuningReport) -> tuple[GuardrailResult, ...]:
    return tuple(row for row in report.guardrails if row.constraint not in report.request.goal.constraints)


def sections(report: TuningReport) -> tuple[Section, ...]:
    """Every table, in the order in which it is read; parts without rows are left out."""
    parts = (
        _weights(report),
        _experiment(report),
        _changes(report),
        _constraints(report),
        _prices(report),
        _sensitivities(report),
        _influences(report),
        _front(report),
    )
    return tuple(part for part in parts if part.rows)


def _weights(report: TuningReport) -> Section:
    today, proposed = report.tuned.today, report.proposed or report.tuned.today
    rows = (row for weight in today.weights for row in _rows_of(weight, proposed.weight[weight.name], proposed))
    title = "Weights" if report.tuned.advised else "Weights that the log cannot promise"
    head = ("weight", "where", "unit", "bounds", "today", "proposed", "x", "the proposed one in money")
    return Section(title, "Overrides shrink towards the global weight by their evidence.", head, tuple(rows))


def _rows_of(old: Weight, new: Weight, policy: ValuePolicy) -> Iterator[tuple[str, ...]]:
    money = weights_in_money(policy).get(new.name, "")
    bounds = f"{new.low:g} .. {new.high:g}"
    yield (new.name, "", new.unit, bounds, *_moved(old.value, new.value), money)
    for kind in ("surface", "segment"):
        before, after = ({o.key: o.value for o in getattr(weight, kind)} for weight in (old, new))
        for key, value in after.items():
            yield ("", f"{kind} {key}", new.unit, bounds, *_moved(before.get(key), value), "")


def _moved(old: float | None, new: float) -> tuple[str, str, str]:
    if old is None:
        return "", f"{new:.4g}", "new"
    return f"{old:.4g}", f"{new:.4g}", "" if old == new else f"{new / old:.3g}" if old else ""


def _experiment(report: TuningReport) -> Section:
    test = report.tuned.verdict.experiment
    arms = () if test is None else test.arms
    rows = tuple((name, *(f"{arm[name]:.4g}" for arm in arms)) for name in (arms[0] if arms else ()))
    caption = "" if test is None else f"{test}."
    return Section("Arms of the experiment", caption, ("weight", "today", "half way", "proposed"), rows)


def _changes(report: TuningReport) -> Section:
    tuned = report.tuned
    rows = tuple(
        (
            change.metric.name,
            unit_text(change.metric, tuned.today),
            str(change.now),
            str(change.proposed),
            str(change.difference),
            percent(change.relative),
        )
        for change in tuned.prediction.changes.values()
    )
    caption = f"95 % intervals, differences paired, on {len(tuned.judged):,} requests. {ESTIMATORS[tuned.estimator]}."
    return Section(
        "Predicted changes", caption, ("metric", "unit", "today", "proposed", "difference", "relative"), rows
    )


def _constraints(report: TuningReport) -> Section:
    unheld = _not_held(report)
    rows = tuple(
        (
            row.status.upper(),
            row.reason,
            "only in the file" if row in unheld else "yes",
            row.constraint.owner,
            row.constraint.reason,
        )
        for row in report.guardrails
    )
    caption = "Green: proven at its confidence. Amber: expected, not proven. Red: expected to break."
    return Section("Constraints", caption, ("light", "constraint", "held", "owner", "why"), rows)


def _prices(report: TuningReport) -> Section:
    currency = report.tuned.today.currency
    rows = tuple((str(price).replace("currency", currency),) for price in report.prices)
    caption = "Shadow prices: slopes as the search found them, their size on requests that it never saw."
    return Section("What constraints cost", caption, ("price",), rows)


def _sensitivities(report: TuningReport) -> Section:
    objective = report.request.goal.maximise
    rows = tuple(
        (part.weight, percent(part.per_tenth[objective]), f"x {part.harmless[0]:.3g} .. {part.harmless[1]:.3g}")
        for part in report.sensitivities
    )
    head = ("weight", f"{objective}, 10 % more of it", f"may move before {objective} loses 1 %")
    return Section("Sensitivity", "Of each weight, all others as in the table of weights.", head, rows)


def _influences(report: TuningReport) -> Section:
    before, after = report.influences[report.tuned.today.version], list(report.influences.values())[-1]
    rows = tuple(
        (
            new.label,
            str(old.ndcg_gap),
            str(new.ndcg_gap),
            str(old.displaced),
            str(new.displaced),
            f"{old.share:.1%}",
            f"{new.share:.1%}",
        )
        for old, new in zip(before, after, strict=True)
    )
    caption = "What happens to the ranking without the term; share = of the spread of values within slates."
    parts = ("NDCG gap", "items displaced", "share")
    head = ("term", *(f"{part}, {when}" for part in parts for when in ("today", "proposed")))
    return Section("Influence of each term", caption, head, rows)


def _front(report: TuningReport) -> Section:
    front = report.front
    count = len(front.scores[front.metrics[0]].level)
    points = np.unique(np.linspace(0, count - 1, min(POINTS, count)).round().astype(int)).tolist()
    rows = tuple(
        (
            *(percent(front_point(report, name, point)) for name in front.metrics),
            *(f"{column[point]:.4g}" for column in front.weights.values()),
        )
        for point in points
    )
    caption = (
        f"{len(points)} of {count} weightings that none beats in all of {', '.join(front.metrics)}: grown on one half "
        f"of the shoppers, judged on the {len(report.tuned.judged):,} requests of the other, against today."
    )
    return Section("Pareto front", caption, (*front.metrics, *front.weights), rows)


def front_point(report: TuningReport, metric: str, point: int) -> Estimate:
    """The relative change of one point, with its normal 95 % interval."""
    return report.front.change(metric, point, requests=len(report.tuned.judged))


def percent(share: Estimate) -> str:
    """A change in %, with its interval."""
    if not isfinite(share.value):
        return "not defined here"
    return f"{100 * share.value:+.2f} % [{100 * share.low:+.2f}, {100 * share.high:+.2f}]"


def unit_text(metric: Metric, policy: ValuePolicy) -> str:
    return "share" if metric.unit == "1" else metric.unit.replace("currency", policy.currency)
