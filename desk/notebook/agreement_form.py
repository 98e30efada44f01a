"""Agreement form: a tick for every other owner whose parts the draft changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import ipywidgets as widgets


class AgreementForm:
    """`needed` tells by owner what of theirs changes; `box` shows a tick each."""

    def __init__(self, needed: Callable[[], Mapping[str, tuple[str, ...]]]) -> None:
        self._needed = needed
        self.ticks: dict[str, widgets.Checkbox] = {}
        self.box = widgets.VBox()
        self.box.add_class("desk-agreement")

    @property
    def approved_by(self) -> tuple[str, ...]:
        """The owners who are ticked."""
        return tuple(owner for owner, tick in self.ticks.items() if tick.value)

    def show(self) -> None:
        """The owners of the draft as it is now; a tick lasts as long as what it was given for."""
        lines = {owner: f"{owner} agrees: {', '.join(parts)}" for owner, parts in self._needed().items()}
        if lines == {owner: tick.description for owner, tick in self.ticks.items()}:
            return
        self.ticks = {owner: _tick(line) for owner, line in lines.items()}
        self.box.children = tuple(self.ticks.values())


def _tick(line: str) -> widgets.Checkbox:
    return widgets.Checkbox(description=line, indent=False, layout=widgets.Layout(width="auto"))
