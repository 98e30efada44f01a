"""A slider and a number a weight, and a bound a guardrail."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from math import floor, log10

import ipywidgets as widgets

from desk.desk import Desk, DeskView
from value_model.formula.constraint import BoundKind, Constraint
from value_model.formula.metrics import METRIC

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
    """The weights of the desk's present scope; `moved` is called with the view after every move.

    A weight is dragged or typed; what is typed outside its bounds is said beside it, and not taken.
    """

    def __init__(self, desk: Desk, moved: Callable[[DeskView], None]) -> None:
        self._desk, self._moved, self._quiet = desk, moved, False
        self.slider = {w.name: self._slider(w.name) for w in desk.weights}
        self.number = {name: self._number(name) for name in self.slider}
        self._about = {name: widgets.HTML(layout=widgets.Layout(width="215px")) for name in self.slider}
        self._restore = {name: self._button("↺", "as in force", "restore", name) for name in self.slider}
        self._follow = {name: self._button("⤴", "follow everywhere", "follow", name) for name in self.slider}
        rows = [self._row(name) for name in self.slider]
        self.box = widgets.VBox(rows, layout=widgets.Layout(max_width="100%"))

    def show(self, view: DeskView) -> None:
        """Put the sliders where the view's weights are, without moving anything."""
        self._quiet = True
        for name, slider in self.slider.items():
            slider.value = view.weights[name]
            self.number[name].value = float(f"{view.weights[name]:.4g}")
            self._about[name].value = self._told(name, view.money.get(name, ""))
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
            readout=False,
            style={"description_width": "90px"},
            layout=widgets.Layout(width="270px", max_width="100%"),
        )
        slider.add_class(f"desk-{name}")
        slider.observe(lambda change: self._on_value(name, change["new"]), names="value")
        return slider

    def _number(self, name: str) -> widgets.FloatText:
        number = widgets.FloatText(step=self.slider[name].step, layout=widgets.Layout(width="84px"))
        number.add_class(f"desk-number-{name}")
        number.observe(lambda change: self._on_number(name, change["new"]), names="value")
        return number

    def _row(self, name: str) -> widgets.HBox:
        parts = [self.slider[name], self.number[name], self._about[name], self._restore[name], self._follow[name]]
        return widgets.HBox(parts, layout=widgets.Layout(flex_flow="wrap"))

    def _told(self, name: str, money: str) -> str:
        """What the weight pays, then its unit and bounds; on hover who owns it and why."""
        weight = self._desk.draft.weight[name]
        unit = "ratio" if weight.unit == "1" else weight.unit
        why = escape(f"{weight.owner}: {weight.reason}", quote=True)
        bounds = f"{escape(unit)}, {weight.low:g} to {weight.high:g}"
        return f'<small title="{why}">{escape(money)}{"<br>" if money else ""}{bounds}</small>'

    def _on_value(self, name: str, value: float) -> None:
        step, now = self.slider[name].step, self._desk.scope.weights(self._desk.draft)[name]
        # A browser rounds what it is shown to the slider's grid and sends that back: nobody moved anything.
        if not self._quiet and abs(value - now) > 0.501 * step:
            self._moved(self._desk.move({name: float(f"{value:.10g}")}))

    def _on_number(self, name: str, value: float) -> None:
        weight, now = self._desk.draft.weight[name], self._desk.scope.weights(self._desk.draft)[name]
        if self._quiet or value == float(f"{now:.4g}"):
            return
        if weight.low <= value <= weight.high:
            self._moved(self._desk.move({name: value}))
            return
        line = f"{name} lies between {weight.low:g} and {weight.high:g}: {value:g} is not taken."
        self._about[name].value = f'<div class="desk-outside" role="alert"><b>{escape(line)}</b></div>'
        self._quiet = True
        self.number[name].value = float(f"{now:.4g}")
        self._quiet = False

    def _button(self, icon: str, tooltip: str, what: str, name: str) -> widgets.Button:
        act = {"restore": self._desk.restore, "follow": self._desk.follow}[what]
        return button(icon, f"desk-{what}-{name}", lambda _: self._moved(act(name)), width="32px", tooltip=tooltip)


class Guardrails:
    """The bounds of the draft's guardrails whose metrics are known, shares and relative changes in per cent.

    `moved` is called after every move; a bound that cannot be is said, and not taken.
    """

    def __init__(self, desk: Desk, moved: Callable[[DeskView], None]) -> None:
        self._desk, self._moved = desk, moved
        self.bound: dict[str, widgets.FloatText] = {}
        self.note = widgets.HTML()
        self._rows = widgets.VBox()
        self.box = widgets.VBox([self._rows, self.note])

    def show(self) -> None:
        """The bounds as they are in the draft."""
        now = self._now()
        if now.keys() != self.bound.keys():
            self.bound = {subject: self._text(constraint) for subject, constraint in now.items()}
            rows = ([_label(constraint), self.bound[subject]] for subject, constraint in now.items())
            self._rows.children = tuple(widgets.HBox(row, layout=widgets.Layout(flex_flow="wrap")) for row in rows)
        for subject, constraint in now.items():
            self.bound[subject].value = _shown(constraint)

    def _now(self) -> dict[str, Constraint]:
        return {c.subject: c for c in self._desk.guardrails if c.metric in self._desk.metrics}

    def _text(self, constraint: Constraint) -> widgets.FloatText:
        text = widgets.FloatText(value=_shown(constraint), step=0.5, layout=widgets.Layout(width="90px"))
        text.observe(lambda change: self._on_value(constraint.subject, change["new"]), names="value")
        return text

    def _on_value(self, subject: str, value: float) -> None:
        constraint = self._now()[subject]
        if value == _shown(constraint):
            return
        bound = float(f"{value / _scale(constraint):.10g}")
        if problem := _impossible(constraint, bound):
            self.note.value = f"<b>{escape(problem)}</b>"
            self.bound[subject].value = _shown(constraint)
            return
        self.note.value = ""
        self._moved(self._desk.guard(subject, bound))


def _scale(constraint: Constraint) -> float:
    """100 where the bound is written in per cent."""
    share = METRIC[constraint.metric].share
    return 100.0 if constraint.of is BoundKind.RELATIVE or share else 1.0


def _shown(constraint: Constraint) -> float:
    return float(f"{constraint.bound * _scale(constraint):.10g}")


def _impossible(constraint: Constraint, bound: float) -> str:
    """Why nothing can be bounded so; empty where it can."""
    if constraint.of is BoundKind.RELATIVE and bound < -1:
        return f"{constraint.metric} cannot lose more than 100 %: write -100 or more."
    if constraint.of is BoundKind.LEVEL and METRIC[constraint.metric].share and not 0 <= bound <= 1:
        return f"{constraint.metric} is a share: write 0 to 100."
    return ""


def _label(constraint: Constraint) -> widgets.HTML:
    """What is bounded in plain words; on hover its owner and why."""
    metric = METRIC[constraint.metric]
    what = {BoundKind.LEVEL: "", BoundKind.CHANGE: "change of ", BoundKind.RELATIVE: "relative change of "}[
        constraint.of
    ]
    per_cent = "percentage points" if constraint.of is BoundKind.CHANGE else "%"
    unit = f" in {per_cent if _scale(constraint) == 100 else metric.unit}"
    side = constraint.side.replace("_", " ")
    why = escape(f"{constraint.owner}: {constraint.reason}", quote=True)
    text = escape(f"{what}{metric.words}: {side}{unit}")
    return widgets.HTML(f'<span title="{why}">{text}</span>', layout=widgets.Layout(width="430px", max_width="100%"))
