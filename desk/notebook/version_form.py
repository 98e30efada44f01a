"""Check, save, history and rollback as widgets."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import ipywidgets as widgets

from desk import pages
from desk.desk import Desk, SavedVersion
from desk.notebook.controls import button

DESPITE = "save although a guardrail is expected to break"
NONE = (("no version yet", 0),)


class VersionForm:
    """Asks who and why; `done` is called when another policy is in force."""

    def __init__(self, desk: Desk, *, clock: Callable[[], datetime], done: Callable[[], None]) -> None:
        self._desk, self._clock, self._done = desk, clock, done
        self.owner = _text("owner", "who answers for it", "320px")
        self.reason = _text("reason", "why, for those who read it in a year", "520px")
        self.despite = widgets.Checkbox(description=DESPITE, indent=False, layout=widgets.Layout(width="auto"))
        self.check = button("Run every check", "desk-check", self._check, width="180px")
        self.save = button("Save as new version", "desk-save", self._save, width="180px", style="success")
        self.number = widgets.Dropdown(description="version", options=NONE, layout=widgets.Layout(width="420px"))
        self.back = button("Roll back to it", "desk-rollback", self._roll_back, width="180px", style="warning")
        self.answer, self.changes, self.history = (widgets.HTML() for _ in range(3))
        self.answer.add_class("desk-answer")
        self.history.add_class("desk-history")
        self.despite.add_class("desk-despite")
        self.box = widgets.VBox(
            [
                widgets.HBox([self.owner, self.reason, self.despite], layout=widgets.Layout(flex_flow="wrap")),
                widgets.HBox([self.check, self.save]),
                self.answer,
                widgets.HTML("<b>What the file would change</b>"),
                self.changes,
                widgets.HTML("<b>History</b>"),
                self.history,
                widgets.HBox([self.number, self.back]),
            ]
        )
        self.show()

    def show(self) -> None:
        """The draft's diff and the history as they are now."""
        self.changes.value = pages.difference(self._desk.diff)
        entries = self._desk.history()
        self.history.value = pages.history(entries)
        options = tuple((f"{e.number}: {e.version}, {e.reason}", e.number) for e in reversed(entries)) or NONE
        if options != tuple(self.number.options):
            self.number.options = options
        self.number.disabled = self.back.disabled = not entries

    def _check(self, _: object) -> None:
        self.answer.value = pages.checks(self._desk.check())

    def _save(self, _: object) -> None:
        owner, reason, despite = self.owner.value, self.reason.value, self.despite.value
        self._try(lambda: self._desk.save(owner, reason, now=self._clock(), despite=despite))

    def _roll_back(self, _: object) -> None:
        number, owner, reason = int(self.number.value), self.owner.value, self.reason.value
        self._try(lambda: self._desk.rollback(number, owner, reason, now=self._clock()))

    def _try(self, act: Callable[[], SavedVersion]) -> None:
        try:
            saved = act()
        except (ValueError, OSError) as error:
            self.answer.value = pages.messages(str(error), kind="bad")
            return
        entry = saved.record
        folder = self._desk.versions.folder
        file = Path(folder.parent.name, folder.name, entry.file)
        message = f"Version {entry.number} ({entry.version}) is in force; its file is {file}."
        self.answer.value = pages.messages(message, kind="good") + pages.difference(saved.diff)
        self.reason.value, self.despite.value = "", False
        self._done()


def _text(name: str, hint: str, width: str) -> widgets.Text:
    text = widgets.Text(description=name, placeholder=hint, layout=widgets.Layout(width=width))
    text.add_class(f"desk-{name}")
    return text
