"""The evaluation report: one HTML file that opens offline, and its plots as PNG beside it.

It is written from arrays, estimates and texts alone; what a model is stays unknown here. Every picture has a text
alternative and, where it is a curve, its numbers in a table underneath.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from evaluation import bootstrap, plots
from evaluation.bootstrap import Samples
from evaluation.cohorts import Cohorts, by_cohort
from evaluation.compare import VALUE, Comparison, Heads, compare_rankers
from evaluation.curves import Curve, calibration_curve, position_curve
from evaluation.estimate import Estimate
from marketplace.heads import HEADS, Head, HeadKind, Labels, per_impression, recorded_heads

if TYPE_CHECKING:
    from jinja2 import Template
    from matplotlib.figure import Figure

MEANING = {
    "auc": "P(a positive row is scored above a negative one)",
    "grouped_auc": "the same within requests, weighted by their rows",
    "log_loss": "mean of -log P(what happened)",
    "calibration_ratio": "sum predicted / sum observed",
    "ece": "mean |predicted - observed| over 15 bins of equal mass",
    "mae": "mean absolute error, in currency",
    "rmsle": "root mean squared error of log(1 + amount)",
    "gini": "normalised Gini of the amounts' order",
    "ndcg": "normalised discounted cumulative gain, over requests with a positive",
    "map": "mean average precision, over requests with a positive",
    "mrr": "mean of 1 / rank of the first positive, over requests with a positive",
    "recall": "share of the positives that stand in the first k, over requests with a positive",
}
MEANING |= {
    head.total: f"{head.total} in the first k, per request" + (", in currency" if head.kind is HeadKind.MONEY else "")
    for head in per_impression([head.name for head in HEADS])
}
COHORT = "cohort"  # among the slices
SERVED = re.compile(r'<section id="served">.*?</section>', re.DOTALL)
LOWER_IS_BETTER = ("log_loss", "ece", "mae", "rmsle")


@dataclass(frozen=True)
class Plot:
    """One picture: `name` is its SVG's file name, `curves` the numbers behind it."""

    name: str
    title: str
    caption: str
    figure: Figure
    curves: Mapping[str, Curve]

    @cached_property
    def drawn(self) -> bytes:
        """As SVG; drawing takes longer than everything else about a page."""
        return drawn(self.figure)


@dataclass(frozen=True)
class Report:
    """What the page shows; `facts` are name-value pairs such as data set, seed, command and versions."""

    title: str
    facts: Mapping[str, str]
    comparison: Comparison
    plots: Sequence[Plot]
    slices: Mapping[str, Mapping[str, Comparison]]  # dimension -> slice -> metrics
    notes: Sequence[str] = ()
    summary: Sequence[str] = ()  # what comes first (`evaluation.summary`)


def build_report(
    models: Mapping[str, Heads],
    labels: Labels,
    offsets: np.ndarray,
    *,
    title: str,
    baseline: str,
    rng: np.random.Generator,
    currency: str,
    position: np.ndarray | None = None,
    slices: Mapping[str, np.ndarray] | None = None,
    cohorts: Cohorts | None = None,
    facts: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
    where: np.ndarray | None = None,
    k: int = 10,
    shopper: np.ndarray | None = None,
) -> Report:
    """Measure and draw everything that the arrays allow.

    models: name -> head -> [N]; position [N], 0 = not shown; slices: dimension (say "surface") -> text [R]; cohorts
    (say "new items"): a further dimension, under COHORT; shopper [R]: whose request, so that intervals resample
    shoppers.
    """
    comparison = compare_rankers(models, labels, offsets, baseline=baseline, rng=rng, k=k, where=where, shopper=shopper)
    samples = bootstrap.resample(len(offsets) - 1, rng, shopper=shopper)
    drawn = _calibration_plots(models, labels, offsets, samples, where, currency)
    if position is not None:
        drawn.append(_position_plot(labels, position, offsets, samples))
    drawn += _distributions(models, labels, currency, where)
    sliced = {
        name: _by_slice(models, labels, offsets, groups, baseline, rng, k, where, shopper)
        for name, groups in (slices or {}).items()
    }
    if cohorts:
        sliced[COHORT] = by_cohort(
            models, labels, offsets, cohorts, baseline=baseline, rng=rng, k=k, where=where, shopper=shopper
        )
    drawn += [plot for name, parts in sliced.items() for plot in _slice_plots(name, parts, labels, k)]
    return Report(title, dict(facts or {}), comparison, drawn, sliced, tuple(notes))


def write_report(report: Report, folder: Path) -> Path:
    """Write folder/report.html and folder/plots/*.svg; return the page's path."""
    (folder / "plots").mkdir(parents=True, exist_ok=True)
    for plot in report.plots:
        (folder / "plots" / f"{plot.name}.svg").write_bytes(plot.drawn)
    page = folder / "report.html"
    page.write_text(to_html(report), encoding="utf-8")
    return page


def add_served(page: Path, lines: Sequence[str]) -> None:
    """Say on a written page what the bundle that was exported later serves; lines of an earlier bundle go."""
    from markupsafe import escape

    served = "".join(f"<p>{escape(line)}</p>" for line in lines)
    section = f'<section id="served">{served}</section>'
    page.write_text(SERVED.sub(lambda _: section, page.read_text("utf-8"), count=1), encoding="utf-8")


def to_html(report: Report) -> str:
    """The page as text; everything it needs is inside."""
    page = template(Path(__file__).parent / "report.html.jinja")
    return page.render(report=report, tables=_tables(report.comparison), picture=data_uri, meaning=_meaning, text=_text)


def template(path: Path) -> Template:
    """A page's template, which may include style.css.jinja; what is put into it is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader([path.parent, Path(__file__).parent])
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template(path.name)


def _calibration_plots(
    models: Mapping[str, Heads],
    labels: Labels,
    offsets: np.ndarray,
    samples: Samples,
    where: np.ndarray | None,
    currency: str,
) -> list[Plot]:
    result = []
    for head in recorded_heads(labels):
        rows = head.rows(labels) if where is None else head.rows(labels) & where
        curves = {
            name: calibration_curve(heads[head.name], labels[head.label], offsets, samples=samples, where=rows)
            for name, heads in models.items()
            if rows.any() and head.name in heads
        }
        if curves:
            caption = "15 bins of equal mass; bands are 95 % intervals over shoppers; the dotted line is calibration."
            figure = plots.calibration(curves, unit=_unit(head, currency))
            result.append(Plot(f"calibration_{head.name}", f"Calibration of {head.name}", caption, figure, curves))
    return result


def _unit(head: Head, currency: str) -> str:
    """What its axis says: "P(click | shown)", "SAR per order"."""
    if head.kind is HeadKind.PROBABILITY:
        return head.meaning
    return head.unit.replace("currency", currency).replace(" / ", " per ")


def _position_plot(labels: Labels, position: np.ndarray, offsets: np.ndarray, samples: Samples) -> Plot:
    events = dict.fromkeys(head.label for head in recorded_heads(labels) if head.kind is HeadKind.PROBABILITY)
    curves = {
        name: position_curve(labels[name], np.where(np.isnan(labels[name]), 0, position), offsets, samples=samples)
        for name in events
    }
    caption = (
        "Observed rates where the list was shown: relevance and examination together, not position's effect alone."
    )
    return Plot("position", "Rates by shown position", caption, plots.by_position(curves), curves)


def _distributions(models: Mapping[str, Heads], labels: Labels, currency: str, where: np.ndarray | None) -> list[Plot]:
    """Of the value, and of the amounts that an impression is worth."""
    amounts = [head for head in _rankable(labels) if head.kind is HeadKind.MONEY]
    units = {VALUE: "the formula's unit"} | {head.name: _unit(head, currency) for head in amounts}
    result = []
    for score, unit in units.items():
        values = {
            name: heads[score] if where is None else heads[score][where]
            for name, heads in models.items()
            if score in heads
        }
        if values:
            figure = plots.distribution(values, unit=f"{score} ({unit})")
            result.append(Plot(f"distribution_{score}", f"Distribution of {score}", "All candidates.", figure, {}))
    return result


def _rankable(labels: Labels) -> tuple[Head, ...]:
    return per_impression([head.name for head in recorded_heads(labels)])


def _by_slice(
    models: Mapping[str, Heads],
    labels: Labels,
    offsets: np.ndarray,
    groups: np.ndarray,
    baseline: str,
    rng: np.random.Generator,
    k: int,
    where: np.ndarray | None,
    shopper: np.ndarray | None,
) -> dict[str, Comparison]:
    """slice -> metrics on the rows of its requests."""
    everywhere = np.ones(offsets[-1], bool) if where is None else where
    of_row = np.repeat(np.asarray(groups), np.diff(offsets))
    result = {}
    for name in np.unique(groups).tolist():
        rows = everywhere & (of_row == name)
        if rows.any():
            result[str(name)] = compare_rankers(
                models, labels, offsets, baseline=baseline, rng=rng, k=k, where=rows, replicates=100, shopper=shopper
            )
    return result


def _slice_plots(dimension: str, parts: Mapping[str, Comparison], labels: Labels, k: int) -> list[Plot]:
    result = []
    for head in _rankable(labels):
        metric = f"{head.name}.{head.total if head.kind is HeadKind.MONEY else 'ndcg'}@{k}"
        rows = {
            part: {model: metrics[metric] for model, metrics in comparison.metrics.items() if metric in metrics}
            for part, comparison in parts.items()
        }
        if any(rows.values()):
            figure = plots.intervals(rows, label=metric)
            name = f"{dimension}_{metric.replace('.', '_').replace('@', '_at_')}"
            result.append(Plot(name, f"{metric} by {dimension}", _meaning(metric), figure, {}))
    return result


def _tables(comparison: Comparison) -> dict[str, dict[str, dict[str, dict[str, str]]]]:
    """head -> metric -> model -> what its cell says: value, interval, change against the baseline, and a verdict."""
    tables: dict[str, dict[str, dict[str, dict[str, str]]]] = {}
    for model, metrics in comparison.metrics.items():
        for name, estimate in metrics.items():
            head, metric = name.split(".", 1)
            change = comparison.differences.get(model, {}).get(name)
            cell = {"value": _text(estimate), "change": "", "verdict": ""}
            if change is not None:
                cell |= {"change": f"{change.value:+.4f} [{change.low:+.4f}, {change.high:+.4f}]"}
                cell["verdict"] = _verdict(metric, change)
            tables.setdefault(head, {}).setdefault(metric, {})[model] = cell
    return tables


def _verdict(metric: str, change: Estimate) -> str:
    """ "better" or "worse" where the interval of the change excludes 0; calibration ratios have no better side."""
    if metric == "calibration_ratio" or not change.excludes_zero:
        return ""
    return "better" if (change.value < 0) == (metric in LOWER_IS_BETTER) else "worse"


def _meaning(metric: str) -> str:
    last = metric.rsplit(".", 1)[-1].split("@")[0]
    return MEANING.get(last) or MEANING.get(last.split("_")[-1], "")


def _text(estimate: Estimate) -> str:
    return "not defined here" if np.isnan(estimate.value) else str(estimate)


def drawn(figure: Figure) -> bytes:
    """The figure as SVG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def data_uri(svg: bytes) -> str:
    """An SVG as a data URI: an <img> keeps ids of several drawings apart and carries the text alternative."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode()


def svg(figure: Figure) -> str:
    """The figure as a data URI."""
    return data_uri(drawn(figure))
