"""The report's drawings: matplotlib figures of curves and estimates, readable without colour.

Models differ by marker as well as colour; every axis carries its unit; matplotlib is imported when a figure is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluation.curves import Curve
from evaluation.estimate import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito's palette: distinguishable with any colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def _figure(*, width: float = 6.4, height: float = 4.2) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    return figure, axes


def _draw(axes: Axes, curves: Mapping[str, Curve]) -> None:
    for index, (name, curve) in enumerate(curves.items()):
        colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
        axes.plot(curve.x, curve.y, color=colour, marker=marker, markersize=4, linewidth=1.3, label=name)
        axes.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.15, linewidth=0)


def calibration(curves: Mapping[str, Curve], *, unit: str = "probability", logarithmic: bool = True) -> Figure:
    """Predicted against observed by model; a calibrated head lies on the diagonal."""
    figure, axes = _figure()
    _draw(axes, curves)
    points = np.concatenate([np.concatenate((curve.x, curve.y)) for curve in curves.values()])
    positive = points[points > 0]
    if logarithmic and all((curve.x > 0).any() and (curve.y > 0).any() for curve in curves.values()):
        axes.set_xscale("log", nonpositive="mask")
        axes.set_yscale("log", nonpositive="mask")
        axes.plot(*[[positive.min(), positive.max()]] * 2, color="#666", linestyle=":", label="calibrated")
    else:
        axes.plot(
            *[[points.min(initial=0), points.max(initial=1e-9)]] * 2, color="#666", linestyle=":", label="calibrated"
        )
    axes.set(xlabel=f"predicted ({unit})", ylabel=f"observed ({unit})")
    axes.legend(frameon=False)
    return figure


def gains(curves: Mapping[str, Curve], *, unit: str) -> Figure:
    """Gain by the share that is treated, best first; an order that tells nothing lies on the straight line."""
    figure, axes = _figure()
    _draw(axes, curves)
    axes.plot([0, 1], [0, next(iter(curves.values())).y[-1]], color="#666", linestyle=":", label="at random")
    axes.set(xlabel="share treated, best first", ylabel=f"extra {unit} per row")
    axes.legend(frameon=False)
    return figure


def by_position(curves: Mapping[str, Curve]) -> Figure:
    """Rates by shown position, one line a label."""
    figure, axes = _figure()
    _draw(axes, curves)
    axes.set(xlabel="shown position", ylabel="rate per impression", ylim=(0, None))
    axes.legend(frameon=False)
    return figure


def by_day(curves: Mapping[str, Curve]) -> Figure:
    """A figure by day, 0 = the last, beside what was usual."""
    figure, axes = _figure(height=3.0)
    _draw(axes, curves)
    axes.set(xlabel="days before")
    axes.legend(frameon=False)
    return figure


def distribution(values: Mapping[str, np.ndarray], *, unit: str, bins: int = 60) -> Figure:
    """Share of rows by value, a line a model; logarithmic where all values are positive and span over 100x."""
    figure, axes = _figure()
    every = np.concatenate(list(values.values()))
    low, high = np.quantile(every, [0.001, 0.999])
    wide = every.min() > 0 and high > 100 * low
    edges = np.geomspace(low, high, bins + 1) if wide else np.linspace(low, high if high > low else low + 1, bins + 1)
    for index, (name, column) in enumerate(values.items()):
        share = np.histogram(column, edges)[0] / len(column)
        axes.stairs(share, edges, color=COLOURS[index % len(COLOURS)], label=name, linewidth=1.4)
    axes.set(xlabel=unit, ylabel="share of rows", xscale="log" if wide else "linear")
    axes.legend(frameon=False)
    return figure


def intervals(estimates: Mapping[str, Mapping[str, Estimate]], *, label: str, zero: bool = False) -> Figure:
    """Estimates with their intervals: a row a slice, a marker a model; `zero` draws a dotted line there."""
    figure, axes = _figure(height=1.2 + 0.45 * len(estimates))
    if zero:
        axes.axvline(0, color="#666", linestyle=":")
    models = list(dict.fromkeys(name for row in estimates.values() for name in row))
    for index, model in enumerate(models):
        lines = [(at, row[model]) for at, row in enumerate(estimates.values()) if model in row]
        y = np.array([at for at, _ in lines]) + (index - (len(models) - 1) / 2) * 0.18
        value = np.array([e.value for _, e in lines])
        axes.errorbar(
            value,
            y,
            xerr=_reach([e for _, e in lines]),
            linestyle="",
            capsize=3,
            label=model,
            color=COLOURS[index % len(COLOURS)],
            marker=MARKERS[index % len(MARKERS)],
            markersize=5,
        )
    axes.set(yticks=range(len(estimates)), yticklabels=list(estimates), xlabel=label)
    axes.invert_yaxis()
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    return figure


def over_time(curves: Mapping[str, Curve], *, labels: tuple[str, str]) -> Figure:
    """Changes against a control as time goes on, with their intervals; the dotted line is no change."""
    figure, axes = _figure()
    _draw(axes, curves)
    axes.axhline(0, color="#666", linestyle=":")
    axes.set(xlabel=labels[0], ylabel=labels[1])
    axes.legend(frameon=False)
    return figure


Point = tuple[Estimate, Estimate, Estimate]  # along x, along y, and what the colour tells


def front(
    points: Sequence[Point], beaten: Mapping[str, tuple[Point, Point]], *, labels: tuple[str, str, str]
) -> Figure:
    """A Pareto front, and by name what a point of it beats: an arrow leads there, crosses are both ends' intervals."""
    figure, axes = _figure(width=7.2, height=4.8)
    level = [point[2].value for point in (*points, *(start for start, _ in beaten.values()))]
    colours: dict[str, Any] = {"vmin": min(level), "vmax": max(level), "cmap": "cividis", "zorder": 3}
    x, y, colour = ([point[axis].value for point in points] for axis in range(3))
    drawn = axes.scatter(x, y, c=colour, s=22, label="front", **colours)
    for marker, (name, (start, end)) in zip(MARKERS[1:], beaten.items(), strict=False):
        at, to = ((point[0].value, point[1].value) for point in (start, end))
        axes.scatter(at[0], at[1], c=[start[2].value], s=90, marker=marker, label=name, edgecolors="black", **colours)
        axes.annotate("", to, at, arrowprops={"arrowstyle": "->", "color": "#D55E00", "shrinkB": 0}, zorder=4)
        for across, up, _ in (start, end):
            axes.plot([across.low, across.high], [up.value] * 2, color="#999", linewidth=0.8)
            axes.plot([across.value] * 2, [up.low, up.high], color="#999", linewidth=0.8)
    figure.colorbar(drawn, label=labels[2])
    axes.set(xlabel=labels[0], ylabel=labels[1])
    axes.legend(frameon=False)
    return figure


def trade_off(
    across: Sequence[Estimate],
    up: Sequence[Estimate],
    *,
    labels: tuple[str, str],
    marked: Mapping[str, tuple[float, float]],
) -> Figure:
    """Points by two estimates each, with their intervals; `marked` ones stand out by name."""
    figure, axes = _figure()
    x, y = ([estimate.value for estimate in part] for part in (across, up))
    axes.errorbar(x, y, xerr=_reach(across), yerr=_reach(up), color=COLOURS[0], elinewidth=0.5, linestyle="")
    axes.plot(x, y, color=COLOURS[0], marker=MARKERS[0], markersize=4, linestyle="", label="front")
    for index, (name, point) in enumerate(marked.items(), start=1):
        axes.plot(*point, color=COLOURS[index], marker=MARKERS[index], markersize=9, linestyle="", label=name)
    axes.set(xlabel=labels[0], ylabel=labels[1])
    axes.legend(frameon=False)
    return figure


def _reach(estimates: Sequence[Estimate]) -> np.ndarray:
    """[2, E]: from each value down to its low and up to its high end."""
    error = np.array([(e.value - e.low, e.high - e.value) for e in estimates]).T
    return np.maximum(error, 0)
