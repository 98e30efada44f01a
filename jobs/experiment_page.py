"""An experiment's reading as one HTML page that opens offline: what was tested, trust, effects, and what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from evaluation import plots
from evaluation.curves import Curve
from evaluation.estimate import Estimate
from evaluation.experiments.conclusion import NextMove, conclusions
from evaluation.experiments.reading import ExperimentReading
from evaluation.report import svg, template
from jobs.experiment_sections import CHANGED, PARTS, facts, reading_sections

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEMPLATE = Path(__file__).parent / "experiment.html.jinja"
GOOD = {NextMove.SHIP, NextMove.GO_ON}


def to_html(reading: ExperimentReading, *, course: Mapping[str, Curve], currency: str) -> str:
    """The page as text."""
    found = conclusions(reading)
    return template(TEMPLATE).render(
        title=f"What {reading.experiment.name} brought",
        day=f"Day {reading.look.elapsed * reading.experiment.days:.0f} of {reading.experiment.days:g}",
        conclusions=[(str(one), one.move in GOOD) for one in found],
        facts=facts(reading.experiment),
        sections=reading_sections(reading, currency=currency),
        pictures=[(place, caption, svg(figure)) for place, caption, figure in pictures(reading, course)],
    )


def pictures(reading: ExperimentReading, course: Mapping[str, Curve]) -> Iterator[tuple[str, str, Figure]]:
    """(section, caption, figure): changes of metrics, of parts, and as the experiment went on; all in per cent."""
    metrics: dict[str, dict[str, Estimate]] = {}
    for one in reading.metrics:
        if isinstance(one.relative, Estimate):
            metrics.setdefault(one.metric.name, {})[one.variant] = _per_cent(one.relative)
    primary = reading.experiment.metrics.primary
    if metrics:
        yield CHANGED, "Relative change of each metric", plots.intervals(metrics, label="relative change, %", zero=True)
    if course:
        curves = {name: Curve(c.x, 100 * c.y, 100 * c.low, 100 * c.high, c.rows) for name, c in course.items()}
        labels = ("days since the start", f"relative change of {primary}, %")
        yield CHANGED, f"{primary} as the experiment went on", plots.over_time(curves, labels=labels)
    parts: dict[str, dict[str, Estimate]] = {}
    for segment in reading.segments:
        if isinstance(segment.relative, Estimate):
            name = f"{segment.dimension} {segment.segment}"
            parts.setdefault(name, {})[segment.variant] = _per_cent(segment.relative)
    if parts:
        yield PARTS, f"{primary} by part", plots.intervals(parts, label="relative change, %", zero=True)


def _per_cent(share: Estimate) -> Estimate:
    return Estimate(100 * share.value, 100 * share.low, 100 * share.high, share.n, share.level)
