"""A slider a weight, and a bound a guardrail."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from math import floor, log10

import ipywidgets as widgets

from desk.desk import Desk, DeskView

STEPS = 300  # at least, between a weight's bounds


def step_of(low: float, high: float) -> float:
    """A power of ten, so that the numbers which people choose lie on the slider's grid."""
    return float(10.0 ** floor(log10((high - low) / STEPS) + 1e-9))


def button(
    label: str,
    name: str,
    pressed: Callable[[object], None],
    *,
    width: str = "200px",
    style: str = "",
    tooltip: str | None = None,
) -> widgets.Button:
    """A button of CSS class `name`."""
    made = widgets.Button(description=label, button_style=style, tooltip=tooltip, layout=widgets.Layout(width=width))
    made.add_class(name)
    made.on_click(pressed)
    return made


class Sliders:
    """The weights of the desk's present scope; `moved` is called with the view after every move."""

    def __init__(self, desk: Desk, moved: Callable[[DeskView], None]) -> None:
        self._desk, self._moved, self._quiet = desk, moved, False
        self.slider = {w.name: self._slider(w.name) for w in desk.weights}
        self._restore = {name: self._button("↺", "as in force", "restore", name) for name in self.slider}
        self._follow = {name: self._button("⤴", "follow everywhere", "follow", name) for name in self.slider}
        rows = [self._row(name) for name in self.slider]
        self.box = widgets.VBox(rows, layout=widgets.Layout(min_width="590px"))

    def show(self, view: DeskView) -> None:
        """Put the sliders where the view's weights are, without moving anything."""
        self._quiet = True
        for name, slider in self.slider.items():
            slider.value = view.weights[name]
            changed = view.weights[name] != view.today[name]
            slider.style.handle_color = "#e0a100" if changed else None
            self._restore[name].disabled = not changed
            decided = view.scope.decides(self._desk.draft, name)
            self._follow[name].layout.visibility = "visible" if decided else "hidden"
        self._quiet = False

    def _slider(self, name: str) -> widgets.FloatSlider:
        weight = self._desk.draft.weight[name]
        slider = widgets.FloatSlider(
            value=weight.value,
            min=weight.low,
            max=weight.high,
            step=step_of(weight.low, weight.high),
            description=name,
            readout_format=".4",
            style={"description_width": "90px"},
            layout=widgets.Layout(width="360px"),
        )
        slider.add_class(f"desk-{name}")
        slider.observe(lambda change: self._on_value(name, change["new"]), names="value")
        return slider

    def _row(self, name: str) -> widgets.HBox:
        weight = self._desk.draft.weight[name]
        unit = "ratio" if weight.unit == "1" else weight.unit
        about = f"{escape(unit)}, {weight.low:g} to {weight.high:g}"
        label = widgets.HTML(f'<small title="{escape(weight.reason)}">{about}</small>')
        label.layout.width = "165px"
        return widgets.HBox([self.slider[name], label, self._restore[name], self._follow[name]])

    def _on_value(self, name: str, value: float) -> None:
        step, now = self.slider[name].step, self._desk.scope.weights(self._desk.draft)[name]
        # A browser rounds what it is shown to the slider's grid and sends that back: nobody moved anything.
        if not self._quiet and abs(value - now) > 0.501 * step:
            self._moved(self._desk.move({name: float(f"{value:.10g}")}))

    def _button(self, icon: str, tooltip: str, what: str, name: str) -> widgets.Button:
        act = {"restore": self._desk.restore, "follow": self._desk.follow}[what]
        return button(icon, f"desk-{what}-{name}", lambda _: self._moved(act(name)), width="32px", tooltip=tooltip)


class Guardrails:
    """The bounds of the draft's guardrails whose metrics are known; `moved` is called after every move."""

    def __init__(self, desk: Desk, moved: Callable[[DeskView], None]) -> None:
        self._desk, self._moved = desk, moved
        self.bound: dict[str, widgets.FloatText] = {}
        self.box = widgets.VBox()

    def show(self) -> None:
        """The bounds as they are in the draft."""
        now = self._now()
        if now.keys() != self.bound.keys():
            self.bound = {subject: self._text(subject) for subject in now}
            rows = ([_label(subject), text] for subject, text in self.bound.items())
            self.box.children = tuple(widgets.HBox(row) for row in rows)
        for subject, bound in now.items():
            self.bound[subject].value = bound

    def _now(self) -> dict[str, float]:
        return {c.subject: c.bound for c in self._desk.guardrails if c.metric in self._desk.metrics}

    def _text(self, subject: str) -> widgets.FloatText:
        text = widgets.FloatText(value=self._now()[subject], step=0.005, layout=widgets.Layout(width="90px"))
        text.observe(lambda change: self._on_value(subject, change["new"]), names="value")
        return text

    def _on_value(self, subject: str, bound: float) -> None:
        if bound != self._now()[subject]:
            self._moved(self._desk.guard(subject, bound))


def _label(text: str) -> widgets.Label:
    return widgets.Label(text, layout=widgets.Layout(width="260px"))
