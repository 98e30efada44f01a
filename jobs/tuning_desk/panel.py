"""The desk as widgets, for JupyterLab and Voila: a thin layer that asks the desk and shows its answers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import ipywidgets as widgets

from jobs.tuning_desk import pages
from jobs.tuning_desk.controls import Guardrails, Sliders
from jobs.tuning_desk.desk import Desk, View
from jobs.tuning_desk.exploring import Explored
from jobs.tuning_desk.front_figure import draw, front_figure, mark
from jobs.tuning_desk.saving import Saving


def _clock() -> datetime:
    return datetime.now(UTC)


class Panel:
    """`box` is what a notebook displays; the widgets that people touch are attributes."""

    def __init__(self, desk: Desk, *, clock: Callable[[], datetime] = _clock) -> None:
        self.desk, self._scopes = desk, desk.scopes
        self._explored: Explored | None = None
        self.weights = Sliders(desk, self.show)
        self.guardrails = Guardrails(desk, self.show)
        self.saving = Saving(desk, clock=clock, done=self._renew)
        self.outlook, self.slates, self.money, self.prices, self.head = (widgets.HTML() for _ in range(5))
        for name in ("outlook", "slates", "prices", "head"):
            getattr(self, name).add_class(f"desk-{name}")
        self.next = _button("Other requests", "desk-next", self._turn)
        self.reset = _button("Reset the draft", "desk-reset", lambda _: self.show(desk.reset()))
        self.tabs = self._tabs()
        self.figure = front_figure(self._load)
        self.box = widgets.VBox([self.head, self.tabs, self._more()])
        self._renew()

    @property
    def sliders(self) -> dict[str, widgets.FloatSlider]:
        return self.weights.slider

    def show(self, view: View) -> None:
        """Everything that depends on the draft."""
        self.weights.show(view)
        self.guardrails.show()
        self.outlook.value = pages.outlook(view, currency=self.desk.draft.currency)
        self.slates.value = pages.slates(view)
        owners = {w.name: (w.owner, w.reason) for w in self.desk.draft.weights}
        self.money.value = pages.money(view, owners)
        self.saving.show()

    def _renew(self) -> None:
        policy, material = self.desk.policy, self.desk.material
        about = (
            f"{material.name}: {len(material.evidence):,} logged requests. In force: {policy.name}, version "
            f"{policy.version}."
        )
        formula = " · ".join(f"{e.name} = {e.source}" for e in policy.expressions)
        self.head.value = pages.page(pages.note(about), *map(pages.note, material.notes), pages.note(formula))
        self.show(self.desk.view())

    def _tabs(self) -> widgets.Tab:
        """One tab a scope; the same widgets move to the tab that is looked at."""
        left = widgets.VBox([self.weights.box, widgets.HBox([self.reset, self.next])])
        self._body = widgets.VBox([widgets.HBox([left, self.outlook]), self.slates])
        boxes = [widgets.VBox() for _ in self._scopes]
        boxes[0].children = (self._body,)
        tabs = widgets.Tab(children=boxes, titles=[str(scope) for scope in self._scopes])
        tabs.add_class("desk-tabs")
        tabs.observe(lambda change: self._turn_to(change["new"]), names="selected_index")
        return tabs

    def _turn_to(self, number: int) -> None:
        view = self.desk.look(self._scopes[number])
        for i, box in enumerate(self.tabs.children):
            box.children = (self._body,) if i == number else ()
        self.show(view)

    def _turn(self, _: object) -> None:
        self.show(self.desk.look(page=self.desk.page + 1))

    def _more(self) -> widgets.Accordion:
        known = list(self.desk.metrics)
        other = next((name for name in known if name != self._objective), self._objective)
        self.across = widgets.Dropdown(options=known, value=other, description="across")
        self.up = widgets.Dropdown(options=known, value=self._objective, description="up (goal)")
        self.search = _button("Search for better weights", "desk-search", self._search)
        asked = widgets.HBox([self.across, self.up, self.search])
        parts = {
            "Save as a new version, history, rollback": self.saving.box,
            "Pareto front and shadow prices": widgets.VBox([asked, self.figure, self.prices]),
            "Guardrails": self.guardrails.box,
            "What the weights say in money": self.money,
        }
        more = widgets.Accordion(children=list(parts.values()), titles=list(parts), selected_index=0)
        more.add_class("desk-more")
        return more

    @property
    def _objective(self) -> str:
        known = self.desk.metrics
        return next((name for name in ("gmv", "orders", "ctr") if name in known), known[0])

    def _search(self, _: object) -> None:
        self.search.disabled = True
        self.prices.value = pages.page(pages.note("Searching; this takes some seconds ..."))
        try:
            explored = self.desk.explore((self.across.value, self.up.value))
        except ValueError as error:
            self.prices.value = pages.page(pages.note(str(error), kind="bad"))
        else:
            self._drawn(explored)
        self.search.disabled = False

    def _drawn(self, explored: Explored) -> None:
        self._explored = explored
        draw(self.figure, explored)
        self.prices.value = pages.prices(explored, currency=self.desk.draft.currency)

    def _load(self, point: int) -> None:
        if self._explored is None:
            return
        self.desk.load(self._explored.weights(point))
        mark(self.figure, point)
        if self.tabs.selected_index:
            self.tabs.selected_index = 0  # shows the view
        else:
            self.show(self.desk.view())


def _button(label: str, name: str, pressed: Callable[[object], None]) -> widgets.Button:
    button = widgets.Button(description=label, layout=widgets.Layout(width="200px"))
    button.add_class(name)
    button.on_click(pressed)
    return button


def desk_panel(desk: Desk) -> widgets.VBox:
    """The desk's widgets, ready to display."""
    return Panel(desk).box
