"""Monitoring of a service: the last judged day beside what was usual, and alerts, as the watcher wrote them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from desk.publication import RefusedError
from evaluation.monitoring.checks import as_read, check_of
from evaluation.monitoring.history import History
from serving.console.board import PartPage
from serving.console.desk_line import DeskCall

DAYS_DRAWN, ALERTS_SHOWN = 42, 50
LINE_WIDTH, LINE_HEIGHT = 100.0, 20.0
FIRST = ("requests", "rate.click", "rate.order", "calibration.ctr.all", "calibration.cvr.all")  # before the others


@dataclass(frozen=True)
class FigureRow:
    """A figure of the last day, as people read it, and the usual; `line` has the points of its days, "" = too few."""

    name: str
    meaning: str
    value: float
    usual: float
    departs: bool
    line: str


class MonitoringPart:
    """Of a service's `folder`, where `value-model watch` writes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def look(self, call: DeskCall) -> PartPage:
        history = History.read(self._folder / "watch" / "history.json")
        rows = list(_rows(history)) if history.days else []
        first = [row for name in FIRST for row in rows if row.name == name]
        values: dict[str, Any] = {
            "day": history.days[-1] if history.days else None,
            "open_since": history.open_since,
            "first": first,
            "rows": [row for row in rows if row.name not in FIRST],
            "alerts": self._alerts(),
        }
        return PartPage("monitoring", values)

    def act(self, call: DeskCall) -> PartPage:
        raise RefusedError("there is nothing to change here.")

    def _alerts(self) -> list[dict[str, Any]]:
        """Newest first; raises ValueError for a line that cannot be read."""
        path = self._folder / "alerts.jsonl"
        if not path.exists():
            return []
        lines = path.read_text("utf-8").splitlines()[-ALERTS_SHOWN:]
        return [json.loads(line) for line in reversed(lines)]


def _rows(history: History) -> Iterator[FigureRow]:
    """Of the last day, those that it could compute."""
    for column, name in enumerate(history.names):
        value, error = history.values[-1, column], history.errors[-1, column]
        if np.isnan(value):
            continue
        check, usual = check_of(name), float("nan") if np.isnan(error) else as_read(name, value - error)
        meaning = "" if check is None else check.meaning
        departs = not history.kept[-1, column]
        line = _line(history.values[-DAYS_DRAWN:, column])
        yield FigureRow(name, meaning, as_read(name, value), usual, departs, line)


def _line(values: np.ndarray) -> str:
    """The points of a polyline, the last day at the right."""
    known = np.flatnonzero(~np.isnan(values))
    if len(known) < 2:
        return ""
    shown = values[known]
    x = LINE_WIDTH * known / max(len(values) - 1, 1)
    y = LINE_HEIGHT - 1 - (LINE_HEIGHT - 2) * (shown - shown.min()) / (np.ptp(shown) or 1.0)
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x.tolist(), y.tolist(), strict=True))
