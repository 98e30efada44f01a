"""The desk as widgets, for JupyterLab and Voila: a thin layer that asks the desk and shows its answers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import ipywidgets as widgets

from desk import pages
from desk.desk import Desk, DeskView
from desk.notebook.controls import Guardrails, Sliders, button
from desk.notebook.front_search import FrontSearch
from desk.notebook.version_form import VersionForm


def _clock() -> datetime:
    return datetime.now(UTC)


class Panel:
    """`box` is what a notebook displays; the widgets that people touch are attributes."""

    def __init__(self, desk: Desk, *, clock: Callable[[], datetime] = _clock) -> None:
        self.desk, self._scopes = desk, desk.scopes
        self.weights = Sliders(desk, self.show)
        self.guardrails = Guardrails(desk, self.show)
        self.version_form = VersionForm(desk, clock=clock, done=self._renew)
        self.front_search = FrontSearch(desk, loaded=self.show)
        self.outlook, self.slates, self.money, self.influence, self.head = (widgets.HTML() for _ in range(5))
        self.outlook.layout.flex, self.outlook.layout.min_width = "1 1 340px", "0"
        for name in ("outlook", "slates", "influence", "head"):
            getattr(self, name).add_class(f"desk-{name}")
        self.next = button("Other requests", "desk-next", self._turn)
        self.reset = button("Reset the draft", "desk-reset", lambda _: self.show(desk.reset()))
        self.tabs = self._tabs()
        self.box = widgets.VBox([self.head, self.tabs, self._more()])
        self._renew()

    @property
    def sliders(self) -> dict[str, widgets.FloatSlider]:
        return self.weights.slider

    def show(self, view: DeskView) -> None:
        """Everything that depends on the draft."""
        self.weights.show(view)
        self.guardrails.show()
        self.outlook.value = pages.outlook(view, currency=self.desk.draft.currency)
        self.slates.value = pages.slates(view, unit=self.desk.draft.unit)
        owners = {w.name: (w.owner, w.reason) for w in self.desk.draft.weights}
        self.money.value = pages.money(view, owners)
        self.influence.value = ""  # was another draft's
        self.version_form.show()

    def _renew(self) -> None:
        policy, material = self.desk.policy, self.desk.material
        about = (
            f"{material.name}: {len(material.evidence):,} logged requests. The draft began with {policy.name}, version "
            f"{policy.version}."
        )
        formula = " · ".join(f"{e.name} = {e.source}" for e in policy.expressions)
        self.head.value = pages.messages(" ".join((about, *material.notes)), formula)
        self.show(self.desk.view())

    def _tabs(self) -> widgets.Tab:
        """One tab a scope; the same widgets move to the tab that is looked at."""
        left = widgets.VBox([self.weights.box, widgets.HBox([self.reset, self.next])])
        above = widgets.HBox([left, self.outlook], layout=widgets.Layout(flex_flow="wrap"))
        self._body = widgets.VBox([above, self.slates])
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
        self.front_search.show()
        self.show(view)

    def _turn(self, _: object) -> None:
        self.show(self.desk.look(page=self.desk.page + 1))

    def _more(self) -> widgets.VBox:
        """Panes that open beside one another."""
        self.measure = button("Measure the influence", "desk-measure", self._measure)
        worth = widgets.VBox([self.money, self.measure, self.influence])
        parts = {
            "Publish, history, rollback": self.version_form.box,
            "Pareto front and shadow prices": self.front_search.box,
            "Guardrails": self.guardrails.box,
            "What the weights say in money, and how much each decides": worth,
        }
        first = next(iter(parts))
        panes = [
            widgets.Accordion(children=[part], titles=[title], selected_index=0 if title == first else None)
            for title, part in parts.items()
        ]
        more = widgets.VBox(panes)
        more.add_class("desk-more")
        return more

    def _measure(self, _: object) -> None:
        self.influence.value = pages.influence(self.desk.influence(), places=self.desk.places)


def desk_panel(desk: Desk) -> widgets.VBox:
    """The desk's widgets, ready to display."""
    return Panel(desk).box
