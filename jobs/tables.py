"""Tables on the screen: slates with their explanations, feedback counts, log rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from evaluation.compare import Comparison
from marketplace.attribution import AttributionCounts
from marketplace.heads import HEADS, per_impression, uncomposed

WIDTH = 168  # columns: a slate's table needs them; a terminal that is narrower wraps
CONSOLE = Console(width=WIDTH)


def print_answer(answer: Mapping[str, Any], *, names: Mapping[str, str]) -> None:
    """A service's answer (`serving.payloads.SlateAnswer`), one line an item; `names` are item titles.

    Of the predictions those that are learned: what is composed of them is their product.
    """
    items = answer["items"]
    currency = answer["currency"]
    terms = list(items[0]["contributions"] or {}) if items else []
    heads = [head.name for head in uncomposed(items[0]["predictions"] if items else ())]
    table = Table(
        "#",
        "item",
        "merchant",
        "source",
        "price",
        *[head.replace("_", "\n") for head in heads],
        "merchant\nvalue",
        *[f"+ {term.replace('_', chr(10))}" for term in terms],
        f"= value\n{currency}",
        title=f"{answer['surface']}: {len(items)} of {answer['considered']} candidates shown"
        + ("; nothing answers the query, this is the fallback" if answer["match"] == "none" else ""),
    )
    for item in items:
        title = names.get(item["item_id"]) or item["item_id"]
        table.add_row(
            str(item["position"]),
            title[:26],
            item["merchant_id"],
            item["source"],
            f"{item['price']:.0f}",
            *[_figure(item["predictions"][head]) for head in heads],
            _figure(item["merchant_value"]),
            *[_figure(item["contributions"][term]) for term in terms],
            f"[bold]{item['value']:.4f}[/bold]",
        )
    CONSOLE.print(table)


def _figure(value: float) -> str:
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.4f}"


def print_counts(counts: AttributionCounts) -> None:
    """Where every event went."""
    table = Table("feedback", "events", title="joined feedback")
    for field in fields(counts):
        table.add_row(field.name.replace("_", " "), f"{getattr(counts, field.name):,}")
    CONSOLE.print(table)


def print_rows(rows: pa.Table, *, title: str, limit: int = 8) -> None:
    """The first rows of any table."""
    table = Table(*rows.column_names, title=title)
    for row in rows.slice(0, limit).to_pylist():
        table.add_row(*[_cell(value) for value in row.values()])
    CONSOLE.print(table)


def print_section(head: Sequence[str], rows: Iterable[Sequence[str]], *, title: str, caption: str) -> None:
    """A table of texts, with what it says beneath."""
    table = Table(*map(escape, head), title=title, caption=caption)
    for row in rows:
        table.add_row(*map(escape, row))
    CONSOLE.print(table)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if np.isnan(value) else _figure(value)
    return "" if value is None else str(value)


TOTALS = tuple(f"{head.total}@10" for head in per_impression([head.name for head in HEADS]))
HEADLINE = ("auc", "ndcg@10", "calibration_ratio", "log_loss", *TOTALS)


def print_comparison(comparison: Comparison) -> None:
    """The headline metrics, one column a model; * = differs from the baseline with an interval that excludes 0."""
    names = [name for metrics in comparison.metrics.values() for name in metrics if name.split(".", 1)[1] in HEADLINE]
    table = Table(
        "metric", *comparison.metrics, title=f"held-out period; * = beyond chance against {comparison.baseline}"
    )
    for name in dict.fromkeys(names):
        cells = [_estimate(comparison, model, name) for model in comparison.metrics]
        table.add_row(name, *cells)
    CONSOLE.print(table)


def print_cohorts(cohorts: Mapping[str, Comparison]) -> None:
    """What the baseline of each comparison is worth on its cohort, one column a cohort."""
    served = [one.metrics[one.baseline] for one in cohorts.values()]
    names = dict.fromkeys(name for metrics in served for name in metrics)
    rows = [
        (name, *("" if np.isnan(metrics[name].value) else str(metrics[name]) for metrics in served)) for name in names
    ]
    if rows:
        print_section(
            ("metric", *cohorts), rows, title="whom and what training did not know, and the others", caption=""
        )


def _estimate(comparison: Comparison, model: str, name: str) -> str:
    estimate = comparison.metrics[model].get(name)
    if estimate is None or np.isnan(estimate.value):
        return ""
    change = comparison.differences.get(model, {}).get(name)
    star = " *" if change is not None and change.excludes_zero else ""
    return f"{estimate}{star}"
