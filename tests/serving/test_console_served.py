"""What is served, in the console: seen, rolled back and activated, over a service's folder."""

import re

import pytest
from test_policies_in_force import NOW

from serving.console.board import Board
from serving.console.desk_line import DeskCall
from serving.console.messages import Language
from serving.console.pages import PageView
from serving.console.served_part import ServedPart
from serving.policies_in_force import PublishRequest


@pytest.fixture
def ask(policies):
    part = ServedPart(policies.folder, material_of=lambda *_: None, clock=lambda: NOW)

    def answer(action="", language=Language.ENGLISH, **form):
        return Board({"served": part}).answer(
            DeskCall("served", action, PageView(language, "served", "ops"), "p", form)
        )

    return answer


def test_what_serves_is_seen_rolled_back_and_changed_with_who_and_why(policies, bundle, ask):
    first = ask(language=Language.ARABIC).html
    for part in (bundle.policy.version, policies.manifest.version, "w_click * ctr", "السياسة النافذة"):
        assert part in first
    policies.put(bundle.policy.with_weights({"w_click": 0.2}), PublishRequest("growth", "Clicks pay more."), now=NOW)
    assert "w_click 0.14 -&gt; 0.2" in ask().html
    refused = ask("change", what="version:1", owner="", reason="Enough.")
    assert (refused.status, "needs an owner and a reason" in refused.html) == (409, True)
    assert ask("change", what="version:77", owner="growth", reason="No such.").status == 409
    done = ask("change", what="version:1", owner="growth", reason="Enough.")
    assert (done.status, "Version 3" in done.html) == (200, True)
    assert policies.served().policy == bundle.policy
    done = ask("change", what="bundle:2", owner="ops", reason="The new one.")
    assert done.status == 200
    assert [(one.id, one.in_force) for one in policies.bundles()] == [("3", False), ("2", True), ("1", False)]
    assert [entry.key for entry in policies.history()[-2:]] == ["ops", "ops"]
    assert len(re.findall("<tr><th scope=.row. class=.number.>", done.html)) == 4
