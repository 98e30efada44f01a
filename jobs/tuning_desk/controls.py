"""A slider a weight, and a bound a guardrail."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from math import floor, log10

import ipywidgets as widgets

from jobs.tuning_desk.desk import Desk, View

STEPS = 300  # at least, between a weight's bounds


def step_of(low: float, high: float) -> float:
    """A power of ten, so that the numbers which people choose lie on the slider's grid."""
    return float(10.0 ** floor(log10((high - low) / STEPS) + 1e-9))


class Sliders:
    """The weights of the desk's present scope; every move is told to `moved`."""

    def __init__(self, desk: Desk, moved: Callable[[View], None]) -> None:
        self._desk, self._moved, self._quiet = desk, moved, False
        self.slider = {w.name: self._slider(w.name) for w in desk.weights}
        self._restore = {name: self._button("↺", "as in force", "restore", name) for name in self.slider}
        self._follow = {name: self._button("⤴", "follow everywhere", "follow", name) for name in self.slider}
        rows = [self._row(name) for name in self.slider]
        self.box = widgets.VBox(rows, layout=widgets.Layout(min_width="430px"))

    def show(self, view: View) -> None:
        """Put the sliders where the view's weights are, without moving anything."""
        self._quiet = True
        for name, slider in self.slider.items():
            slider.value = view.weights[name]
            changed = view.weights[name] != view.today[name]
            slider.style.handle_color = "#e0a100" if changed else None
            self._restore[name].disabled = not changed
            own = view.scope.decides(self._desk.draft, name)
            self._follow[name].layout.visibility = "visible" if own else "hidden"
        self._quiet = False

    def _slider(self, name: str) -> widgets.FloatSlider:
        weight = self._desk.draft.weight[name]
        slider = widgets.FloatSlider(
            value=weight.value,
            min=weight.low,
            max=weight.high,
            step=step_of(weight.low, weight.high),
            description=name,
            readout_format=".4g",
            style={"description_width": "90px"},
            layout=widgets.Layout(width="310px"),
        )
        slider.add_class(f"desk-{name}")
        slider.observe(lambda change: self._told(name, change["new"]), names="value")
        return slider

    def _row(self, name: str) -> widgets.HBox:
        weight = self._desk.draft.weight[name]
        about = f"{escape(weight.unit)}, {weight.low:g} .. {weight.high:g}"
        label = widgets.HTML(f'<small title="{escape(weight.reason)}">{about}</small>')
        label.layout.width = "165px"
        return widgets.HBox([self.slider[name], label, self._restore[name], self._follow[name]])

    def _told(self, name: str, value: float) -> None:
        step, now = self.slider[name].step, self._desk.scope.weights(self._desk.draft)[name]
        # A browser rounds what it is shown to the slider's grid and sends that back: nobody moved anything.
        if not self._quiet and abs(value - now) > 0.501 * step:
            self._moved(self._desk.move({name: float(f"{value:.10g}")}))

    def _button(self, icon: str, tooltip: str, what: str, name: str) -> widgets.Button:
        act = {"restore": self._desk.restore, "follow": self._desk.follow}[what]
        button = widgets.Button(description=icon, tooltip=tooltip, layout=widgets.Layout(width="32px"))
        button.add_class(f"desk-{what}-{name}")
        button.on_click(lambda _: self._moved(act(name)))
        return button


class Guardrails:
    """The bounds of the guardrails whose metrics are known."""

    def __init__(self, desk: Desk, moved: Callable[[View], None]) -> None:
        known = [c for c in desk.guardrails if c.metric in desk.metrics]
        self.bound = {c.metric: widgets.FloatText(value=c.bound, step=0.005) for c in known}
        rows = []
        for c in known:
            text = self.bound[c.metric]
            text.layout.width = "90px"
            text.observe(lambda change, metric=c.metric: moved(desk.guard(metric, change["new"])), names="value")
            what = f"{c.metric}: {c.of.value} {'at least' if c.sign > 0 else 'at most'}"
            rows.append(widgets.HBox([widgets.Label(what, layout=widgets.Layout(width="260px")), text]))
        self.box = widgets.VBox(rows)
