"""Pareto front as a picture: its points' places in a plane of 100 x 60, and the figures behind each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from desk.exploration import Exploration
from evaluation.estimate import Estimate

WIDTH, HEIGHT, MARGIN = 100.0, 60.0, 6.0


@dataclass(frozen=True)
class FrontPoint:
    """`number` None = the draft before the search; changes of both metrics are relative, with 95 % intervals."""

    number: int | None
    x: float
    y: float
    across: Estimate
    up: Estimate
    weights: Mapping[str, float]


def front_points(explored: Exploration) -> list[FrontPoint]:
    """The draft, and the points from the left to the right."""
    front, requests = explored.front, len(explored.tuned.judged)
    across, up = (front.scores[name].relative for name in front.metrics)
    xs, ys = _placed(np.append(across, 0.0), WIDTH), _placed(np.append(up, 0.0), HEIGHT)
    none = Estimate(0.0, 0.0, 0.0, requests)
    points = [FrontPoint(None, float(xs[-1]), float(HEIGHT - ys[-1]), none, none, {})]
    for number in np.argsort(across, kind="stable").tolist():
        right, top = (front.change(metric, number, requests=requests) for metric in front.metrics)
        x, y = float(xs[number]), float(HEIGHT - ys[number])
        points.append(FrontPoint(number, x, y, right, top, explored.weights(number)))
    return points


def _placed(values: np.ndarray, length: float) -> np.ndarray:
    """float64 [n] between the margins of an axis."""
    spread = np.ptp(values) or 1.0
    return MARGIN + (length - 2 * MARGIN) * (values - values.min()) / spread
