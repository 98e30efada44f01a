"""A judged day as one HTML page that opens offline: its alerts first, then every figure beside what was usual."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from evaluation import plots
from evaluation.curves import Curve
from evaluation.monitoring.alert import JudgedDay
from evaluation.monitoring.checks import as_read, check_of
from evaluation.monitoring.history import History
from evaluation.report import svg, template

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DRAWN = ("requests", "rate.click", "calibration.ctr.all")
DAYS_DRAWN = 42


def write_page(day: JudgedDay, history: History, path: Path, *, title: str) -> None:
    """The page, in the style of the evaluation's report."""
    page = template(Path(__file__).parent / "day.html.jinja").render(
        title=f"{title}: {day.day:%A, %Y-%m-%d}",
        day=day,
        cell=cell,
        families=_families(day),
        pictures=[(name, svg(figure)) for name, figure in _pictures(day, history)],
    )
    path.write_text(page, encoding="utf-8")


def cell(figure: str, value: float) -> str:
    """A figure as a table has it."""
    return "" if np.isnan(value) else f"{as_read(figure, value):.4g}"


def _families(day: JudgedDay) -> dict[str, list[tuple[str, str, str, str]]]:
    """Family -> (figure, its meaning, value, usual)."""
    families: dict[str, list[tuple[str, str, str, str]]] = {}
    for name, value in day.values.items():
        check = check_of(name)
        if not np.isnan(value):
            meaning = "" if check is None else check.meaning
            family = name.partition(".")[0] if "." in name else "the day"
            families.setdefault(family, []).append((name, meaning, cell(name, value), cell(name, day.usual[name])))
    return families


def _pictures(day: JudgedDay, history: History) -> Iterator[tuple[str, Figure]]:
    """Some figures over the last days up to this one; the band is two standard errors of the forecast."""
    stop = history.days.index(day.day) + 1
    for name in DRAWN:
        if name not in history.names:
            continue
        column = history.names.index(name)
        values, errors = (part[max(0, stop - DAYS_DRAWN) : stop, column] for part in (history.values, history.errors))
        known = ~np.isnan(values) & ~np.isnan(errors)
        if known.sum() < 2:
            continue
        usual, spread = (values - errors)[known], 2 * np.sqrt(np.mean(errors[known] ** 2))
        x = (np.arange(len(values)) - len(values) + 1)[known].astype(float)
        rows = np.ones(len(x), int)
        curves = {
            name: Curve(x, values[known], values[known], values[known], rows),
            "usual": Curve(x, usual, usual - spread, usual + spread, rows),
        }
        yield name, plots.by_day(curves)
