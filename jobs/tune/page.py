"""Tuning report as one HTML page that opens offline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evaluation import plots
from evaluation.estimate import Estimate
from evaluation.report import svg, template
from jobs.tune.sections import front_point, sections, verdict
from jobs.tune.tuning_report import TuningReport

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FRONT = "Points of the front with 95 % intervals, today's and the proposed weights."


def to_html(report: TuningReport, *, title: str, facts: Mapping[str, str], notes: Sequence[str]) -> str:
    """The page as text: the verdict first, then every section, then the front."""
    return template(Path(__file__).parent / "report.html.jinja").render(
        title=title,
        facts=facts,
        notes=notes,
        promised=report.tuned.advised,
        verdict=verdict(report),
        sections=sections(report),
        pictures=[(title, FRONT, svg(figure)) for title, figure in _pictures(report)],
    )


def _pictures(report: TuningReport) -> list[tuple[str, Figure]]:
    """The front's last metric, the objective unless another was named, against each of the others."""
    *across, up = report.front.metrics
    return [(f"The Pareto front: {up} against {name}", _picture(report, name, up)) for name in across]


def _picture(report: TuningReport, across: str, up: str) -> Figure:
    points = range(len(report.front.scores[up].level))
    x, y = ([_percent(front_point(report, name, point)) for point in points] for name in (across, up))
    changes = report.tuned.prediction
    proposed = tuple(100 * changes[name].relative.value for name in (across, up))
    marked = {"today": (0.0, 0.0)} | ({"proposed": (proposed[0], proposed[1])} if report.proposed else {})
    labels = (f"change of {across}, %", f"change of {up}, %")
    return plots.trade_off(x, y, labels=labels, marked=marked)


def _percent(share: Estimate) -> Estimate:
    return Estimate(100 * share.value, 100 * share.low, 100 * share.high, share.n)
