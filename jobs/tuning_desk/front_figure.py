"""The Pareto front as a figure whose points can be clicked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import plotly.graph_objects as go

from jobs.tuning_desk.exploring import Explored

POINTS, TODAY = 0, 1  # traces


def front_figure(on_point: Callable[[int], None]) -> go.FigureWidget:
    """An empty figure; `on_point` is called with the number of the point that was clicked."""
    figure = go.FigureWidget(
        data=[
            go.Scatter(mode="markers+lines", name="front", line={"width": 1, "dash": "dot"}, marker={"size": 9}),
            go.Scatter(mode="markers", name="draft before the search", marker={"size": 13, "symbol": "star"}),
        ],
        layout={
            "template": "plotly_white",
            "height": 340,
            "margin": {"l": 60, "r": 10, "t": 30, "b": 45},
            "legend": {"orientation": "h", "y": 1.12},
            "hovermode": "closest",
        },
    )

    def clicked(_: Any, points: Any, __: Any) -> None:
        if points.point_inds:
            on_point(int(points.point_inds[0]))

    figure.data[POINTS].on_click(clicked)
    return figure


def draw(figure: go.FigureWidget, explored: Explored, *, units: Mapping[str, str]) -> None:
    """Put a front into the figure, with 95 % intervals of both metrics' levels."""
    across, up = explored.front.metrics
    scores, now = explored.front.scores, explored.today
    texts = [_weights(explored.weights(point)) for point in range(len(scores[up].level))]
    with figure.batch_update():
        points, today = figure.data[POINTS], figure.data[TODAY]
        points.x, points.y = scores[across].level, scores[up].level
        points.error_y = {"type": "data", "array": 1.96 * scores[up].level_error, "thickness": 0.6, "width": 0}
        points.error_x = {"type": "data", "array": 1.96 * scores[across].level_error, "thickness": 0.6, "width": 0}
        points.text, points.hovertemplate = texts, "%{x:.4g}, %{y:.4g}<br>%{text}<extra>click to load</extra>"
        points.selectedpoints = None
        today.x, today.y = now[across].level, now[up].level
        figure.layout.xaxis.title.text = f"{across} ({units[across]})"
        figure.layout.yaxis.title.text = f"{up} ({units[up]})"


def mark(figure: go.FigureWidget, point: int) -> None:
    """Show which point was loaded."""
    with figure.batch_update():
        figure.data[POINTS].selectedpoints = [point]


def _weights(weights: Mapping[str, float]) -> str:
    return "<br>".join(f"{name} = {value:.4g}" for name, value in weights.items())
