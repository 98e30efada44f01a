"""Figures and alerts of the last judged day for Prometheus: a file of its textfile collector, replaced as a whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

from evaluation.monitoring.alert import JudgedDay
from evaluation.monitoring.causes import CAUSES

PREFIX = "value_model_watch"


def write_metrics(day: JudgedDay, path: Path) -> None:
    """Every figure with what was usual, and of every cause whether it alarms."""
    registry = CollectorRegistry()
    gauges = {
        name: Gauge(f"{PREFIX}_{name}", meaning, labels, registry=registry)
        for name, (meaning, labels) in {
            "figure": ("a figure of the last judged day, on the scale on which it is judged", ["figure"]),
            "usual": ("what was usual for the figure", ["figure"]),
            "alert": ("1 = the cause alarms on the last judged day", ["cause"]),
            "figures_judged": ("figures that could be judged", []),
            "day_timestamp_seconds": ("start of the last judged day", []),
        }.items()
    }
    for kind, values in (("figure", day.values), ("usual", day.usual)):
        for name, value in values.items():
            if np.isfinite(value):
                gauges[kind].labels(name).set(value)
    alarming = {alert.cause.name for alert in day.alerts}
    for cause in CAUSES:
        gauges["alert"].labels(cause.name).set(cause.name in alarming)
    gauges["figures_judged"].set(day.judged)
    gauges["day_timestamp_seconds"].set(day.day.timestamp())
    write_to_textfile(str(path), registry)
