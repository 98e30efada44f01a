"""The search of a tab as widgets: how far it is, the front whose points can be clicked, and the shadow prices."""

from __future__ import annotations

from collections.abc import Callable

import ipywidgets as widgets

from desk import pages
from desk.desk import Desk, DeskView
from desk.exploration import WEIGHTINGS, Exploration
from desk.notebook.controls import button
from desk.notebook.front_figure import clear, draw, front_figure, mark
from desk.scope import Scope
from value_model.tuning.metrics import OBJECTIVES


class FrontSearch:
    """One front a scope, seen while its tab is open; `loaded` is called with the view when a point is in the draft."""

    def __init__(self, desk: Desk, *, loaded: Callable[[DeskView], None]) -> None:
        self._desk, self._loaded = desk, loaded
        self._explored: dict[Scope, Exploration] = {}
        self.across, self.up = self._metric("across", other=True), self._metric("up (goal)", other=False)
        self.search = button("", "desk-search", self._search, width="230px")
        self.progress = widgets.IntProgress(max=WEIGHTINGS, layout=widgets.Layout(visibility="hidden"))
        self.progress.add_class("desk-progress")
        self.best = button("Load the best weights", "desk-best", lambda _: self._load(None), width="230px")
        self.figure = front_figure(self._load)
        self.prices = widgets.HTML(layout=widgets.Layout(flex="1 1 420px", min_width="0"))
        self.prices.add_class("desk-prices")
        self.point = widgets.HTML()
        top = [self.across, self.up, self.search, self.progress]
        picture = widgets.VBox([self.figure], layout=widgets.Layout(max_width="100%", overflow="auto"))
        rows = (top, [picture, self.prices], [self.best, self.point])
        self.box = widgets.VBox([widgets.HBox(row, layout=widgets.Layout(flex_flow="wrap")) for row in rows])
        self.show()

    def show(self) -> None:
        """What was found in the desk's present scope."""
        self.point.value = ""
        scope = self._desk.scope
        explored = self._explored.get(scope)
        self.search.description = f"Search: {scope.title}"
        self.best.disabled = explored is None or not explored.tuned.promised
        if explored is None:
            clear(self.figure)
            self.prices.value = pages.messages(f"Nothing was searched yet: {scope.title}.")
        else:
            draw(self.figure, explored)
            self.prices.value = pages.prices(explored, currency=self._desk.draft.currency)

    def _metric(self, label: str, *, other: bool) -> widgets.Dropdown:
        known = self._desk.metrics
        goal = next((name for name in OBJECTIVES if name in known), known[0])
        value = next((name for name in known if name != goal), goal) if other else goal
        return widgets.Dropdown(options=known, value=value, description=label)

    def _search(self, _: object) -> None:
        self.search.disabled, self.progress.value, self.progress.layout.visibility = True, 0, "visible"
        self.prices.value = pages.messages(f"Searching: {self._desk.scope.title} ...")
        try:
            self._explored[self._desk.scope] = self._desk.explore(
                (self.across.value, self.up.value), progress=self._advance
            )
        except ValueError as error:
            self.prices.value = pages.messages(str(error), kind="bad")
        else:
            self.show()
        self.search.disabled, self.progress.layout.visibility = False, "hidden"

    def _advance(self, tried: int) -> None:
        self.progress.value += tried

    def _load(self, point: int | None) -> None:
        explored = self._explored.get(self._desk.scope)
        if explored is not None:
            view = self._desk.load(explored, point)
            self._loaded(view)
            mark(self.figure, point)
            self.point.value = "" if point is None else pages.loaded(explored, point, requests=view.requests)
