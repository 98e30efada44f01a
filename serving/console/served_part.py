"""What is served: the policy in force and its trial, the bundles, and the history; rolled back and activated here."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from desk.publication import RefusedError
from serving.console.board import PartPage
from serving.console.desk_line import DeskCall
from serving.policies_in_force import MaterialOf, PoliciesInForce

TRIAL, VERSION, BUNDLE = "trial", "version", "bundle"  # what a change goes back to, before ":"


class ServedPart:
    """Of a service's `folder`; raises BundleError where it has no bundle that is followed through a link."""

    def __init__(self, folder: Path, *, material_of: MaterialOf, clock: Callable[[], datetime]) -> None:
        self._folder, self._material_of, self._clock = folder, material_of, clock

    @property
    def policies(self) -> PoliciesInForce:
        return PoliciesInForce(self._folder, material_of=self._material_of)

    def look(self, call: DeskCall) -> PartPage:
        policies = self.policies
        history = policies.history()
        changes = {entry.number: policies.changes_of(entry) for entry in history}
        served = policies.served()
        values = {
            "policy": served.policy,
            "trial": served.trial,
            "manifest": policies.manifest,
            "bundles": policies.bundles(),
            "history": history[::-1],
            "changes": changes,
            "form": call.form,
            "warnings": policies.warnings(now=self._clock()),
        }
        return PartPage("served", values)

    def act(self, call: DeskCall) -> PartPage:
        what, _, name = call.form.get("what", "").partition(":")
        owner, reason, policies = call.form.get("owner", ""), call.form.get("reason", ""), self.policies
        key, now = call.view.caller, self._clock()
        if what == BUNDLE:
            record = policies.activate(name, owner=owner, reason=reason, now=now, key=key)
        elif what in (TRIAL, VERSION):
            number = int(name) if what == VERSION else None
            record = policies.roll_back(number, owner=owner, reason=reason, now=now, key=key).record
        else:
            raise RefusedError("not changed: choose what to go back to.")
        page = self.look(DeskCall(call.part, "", call.view, call.person))
        words = {"number": record.number, "version": record.version}
        return PartPage(page.template, page.values, "served_done", words)
