"""What is served now, and check, publish, history and rollback as widgets."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import ipywidgets as widgets

from desk import pages
from desk.desk import Desk
from desk.notebook.agreement_form import AgreementForm
from desk.notebook.controls import button
from desk.publication import SavedVersion

DESPITE = "publish although a guardrail is expected to break"
REVIEWED = "guardrails count from this version on (every owner of one agrees)"
NONE = (("no version yet", 0),)
LEAST_SHARE = 0.1  # per cent of the shoppers that a trial is for


class VersionForm:
    """Asks who and why; `done` is called when another policy is in force."""

    def __init__(self, desk: Desk, *, clock: Callable[[], datetime], done: Callable[[], None]) -> None:
        self._desk, self._clock, self._done = desk, clock, done
        self.owner = _text("owner", "who publishes it", "320px")
        self.reason = _text("reason", "why, for those who read it in a year", "520px")
        self.share = widgets.FloatText(value=100, description="shoppers, %", layout=widgets.Layout(width="180px"))
        self.share.add_class("desk-share")
        self.share.observe(lambda change: self._on_share(change["new"]), names="value")
        self.despite, self.reviewed = _tick(DESPITE, "desk-despite"), _tick(REVIEWED, "desk-reviewed")
        self.agreement = AgreementForm(lambda: desk.agreement(self.owner.value, reviewed=self.reviewed.value))
        for field in (self.owner, self.reviewed):
            field.observe(lambda _: self.agreement.show(), names="value")
        self.check = button("Run every check", "desk-check", self._check, width="180px")
        label = "Save as new version" if desk.material.service is None else "Publish"
        self.save = button(label, "desk-save", self._save, width="180px", style="success")
        self.bring_in = button("Bring in what others changed", "desk-bring-in", self._bring_in, width="240px")
        self.end = button("End the trial", "desk-end-trial", self._end_trial, width="180px", style="warning")
        self.number = widgets.Dropdown(
            description="version", options=NONE, layout=widgets.Layout(width="420px", max_width="100%")
        )
        self.back = button("Roll back to it", "desk-rollback", self._roll_back, width="180px", style="warning")
        self.served, self.answer, self.changes, self.history = (widgets.HTML() for _ in range(4))
        for name in ("served", "answer", "history"):
            getattr(self, name).add_class(f"desk-{name}")
        self.box = self._box()
        self.show()

    def _box(self) -> widgets.VBox:
        wrapped = widgets.Layout(flex_flow="wrap")
        return widgets.VBox(
            [
                self.served,
                widgets.HBox([self.bring_in, self.end], layout=wrapped),
                widgets.HTML("<b>What the draft would change</b>"),
                self.changes,
                widgets.HBox([self.owner, self.reason, self.share], layout=wrapped),
                self.agreement.box,
                widgets.VBox([self.despite, self.reviewed]),
                widgets.HBox([self.check, self.save], layout=wrapped),
                self.answer,
                widgets.HTML("<b>History</b>"),
                self.history,
                widgets.HBox([self.number, self.back], layout=wrapped),
            ]
        )

    def show(self) -> None:
        """What is served, the draft's diff and the history as they are now."""
        behind = self._desk.behind
        self.served.value = pages.served(self._desk, behind)
        self.bring_in.layout.display = None if behind else "none"
        self.end.layout.display = "none" if self._desk.trial is None else None
        self.changes.value = pages.difference(self._desk.diff)
        self.agreement.show()
        entries = self._desk.history()
        self.history.value = pages.history(entries)
        options = tuple((f"{e.number}: {e.version}, {e.reason}", e.number) for e in reversed(entries)) or NONE
        if options != tuple(self.number.options):
            self.number.options = options
        self.number.disabled = self.back.disabled = not entries

    def _on_share(self, share: float) -> None:
        if not LEAST_SHARE <= share <= 100:
            line = f"A trial is for {LEAST_SHARE} to 100 % of the shoppers: {share:g} is not taken."
            self.answer.value = pages.messages(line, kind="bad")
            self.share.value = 100

    def _check(self, _: object) -> None:
        self.answer.value = pages.checks(self._desk.check())

    def _save(self, _: object) -> None:
        self._try(
            lambda: self._desk.save(
                self.owner.value,
                self.reason.value,
                now=self._clock(),
                despite=self.despite.value,
                approved_by=self.agreement.approved_by,
                share=self.share.value / 100,
                reviewed=self.reviewed.value,
            )
        )

    def _bring_in(self, _: object) -> None:
        try:
            self._desk.bring_in()
        except ValueError as error:
            self.answer.value = pages.messages(str(error), kind="bad")
            return
        self.answer.value = pages.messages("The draft is now your changes over what is served.", kind="good")
        self._done()

    def _end_trial(self, _: object) -> None:
        self._try(lambda: self._desk.rollback(None, self.owner.value, self.reason.value, now=self._clock()))

    def _roll_back(self, _: object) -> None:
        number = int(self.number.value)
        self._try(lambda: self._desk.rollback(number, self.owner.value, self.reason.value, now=self._clock()))

    def _try(self, act: Callable[[], SavedVersion]) -> None:
        try:
            saved = act()
        except (ValueError, OSError) as error:
            self.answer.value = pages.messages(str(error), kind="bad")
            self.show()
            return
        entry = saved.record
        folder = self._desk.versions.folder
        file = Path(folder.parent.name, folder.name, entry.file)
        whom = "" if entry.share == 1 else f" for {entry.share:.0%} of the shoppers"
        message = f"Version {entry.number} ({entry.version}) is in force{whom}; its file is {file}."
        self.answer.value = pages.messages(message, kind="good") + pages.difference(saved.diff)
        self.reason.value, self.despite.value, self.reviewed.value, self.share.value = "", False, False, 100
        self._done()


def _text(name: str, hint: str, width: str) -> widgets.Text:
    text = widgets.Text(description=name, placeholder=hint, layout=widgets.Layout(width=width, max_width="100%"))
    text.add_class(f"desk-{name}")
    return text


def _tick(line: str, name: str) -> widgets.Checkbox:
    tick = widgets.Checkbox(description=line, indent=False, layout=widgets.Layout(width="auto"))
    tick.add_class(name)
    return tick
