"""The Pareto front as a figure whose points can be clicked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import plotly.graph_objects as go

from desk.exploration import Exploration
from value_model.tuning.scoring import Score

POINTS, START = 0, 1  # traces


def front_figure(on_point: Callable[[int], None]) -> go.FigureWidget:
    """An empty figure; `on_point` is called with the number of the point that was clicked."""
    figure = go.FigureWidget(
        data=[
            go.Scatter(mode="markers", name="front", marker={"size": 9}),
            go.Scatter(mode="markers", name="draft before the search", marker={"size": 13, "symbol": "star"}),
        ],
        layout={
            "template": "plotly_white",
            "height": 340,
            "width": 620,
            "margin": {"l": 60, "r": 40, "t": 30, "b": 45},
            "legend": {"orientation": "h", "y": 1.12},
            "hovermode": "closest",
            "modebar": {"orientation": "v"},
        },
    )

    def clicked(_: Any, points: Any, __: Any) -> None:
        if points.point_inds:
            on_point(int(points.point_inds[0]))

    figure.data[POINTS].on_click(clicked)
    return figure


def draw(figure: go.FigureWidget, explored: Exploration) -> None:
    """Put a front into the figure: both metrics' changes in % of the draft's, with paired 95 % intervals."""
    across, up = (explored.front.scores[name] for name in explored.front.metrics)
    texts = [_weights(explored.weights(point)) for point in range(len(up.relative))]
    with figure.batch_update():
        points, start = figure.data[POINTS], figure.data[START]
        points.name = f"front: {explored.scope.title}"
        points.x, points.y = 100 * across.relative, 100 * up.relative
        points.error_x = _error(across)
        points.error_y = _error(up)
        points.text, points.hovertemplate = texts, "%{x:+.2f} %, %{y:+.2f} %<br>%{text}<extra>click to load</extra>"
        points.selectedpoints = None
        start.x, start.y = [0.0], [0.0]
        for axis, name in zip((figure.layout.xaxis, figure.layout.yaxis), explored.front.metrics, strict=True):
            axis.title.text = f"change of {name}, %"


def clear(figure: go.FigureWidget) -> None:
    """Take a front out again."""
    with figure.batch_update():
        for trace in figure.data:
            trace.x, trace.y = [], []
        figure.data[POINTS].name = "front"


def _error(score: Score) -> dict[str, Any]:
    return {"type": "data", "array": 196 * score.relative_error, "thickness": 0.6, "width": 0}


def mark(figure: go.FigureWidget, point: int | None) -> None:
    """Show which point was loaded, None = no point of the front."""
    with figure.batch_update():
        figure.data[POINTS].selectedpoints = None if point is None else [point]


def _weights(weights: Mapping[str, float]) -> str:
    return "<br>".join(f"{name} = {value:.4g}" for name, value in weights.items())
