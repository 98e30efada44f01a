"""The widgets over the desk, without a browser: what is touched reaches the desk, what it answers is shown."""

import subprocess
import sys
from datetime import UTC, datetime

import pytest
from desk_toy import toy

from desk.desk import Desk
from desk.notebook.controls import step_of
from desk.notebook.panel import Panel

NOW = datetime(2025, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def panel(tmp_path):
    return Panel(Desk(toy(tmp_path)), clock=lambda: NOW)


def test_a_slider_ranks_the_requests_again(panel):
    before = panel.slates.value
    panel.sliders["w_new"].value = 2.0
    assert panel.desk.draft.weight["w_new"].value == 2.0
    assert panel.slates.value != before
    assert "▲" in panel.slates.value
    assert 'data-light="red"' in panel.outlook.value
    panel.reset.click()
    assert panel.slates.value == before
    assert panel.sliders["w_new"].value == 0.05


def test_a_browser_that_rounds_to_its_grid_moves_nothing(panel):
    panel.desk.move({"w_click": 1.2345678})
    panel.show(panel.desk.view())
    panel.sliders["w_click"].value = 1.23
    assert panel.desk.draft.weight["w_click"].value == 1.2345678
    panel.sliders["w_click"].value = 1.25
    assert panel.desk.draft.weight["w_click"].value == 1.25


@pytest.mark.parametrize(("low", "high", "step"), [(0, 1, 0.001), (0, 3, 0.01), (0, 40, 0.1), (0.1, 10, 0.01)])
def test_round_numbers_lie_on_a_sliders_grid(low, high, step):
    assert step_of(low, high) == pytest.approx(step, rel=1e-12)


def test_sliders_have_their_owners_bounds(panel):
    slider = panel.sliders["w_click"]
    assert (slider.min, slider.max, slider.value) == (0.1, 10, 1)


def test_a_number_is_typed_and_one_outside_the_bounds_is_said_and_not_taken(panel):
    number, about = panel.weights.number["w_click"], panel.weights._about["w_click"]
    number.value = 40.0
    assert "w_click lies between 0.1 and 10: 40 is not taken." in about.value
    assert panel.desk.draft.weight["w_click"].value == number.value == 1.0
    number.value = 2.5
    assert panel.desk.draft.weight["w_click"].value == panel.sliders["w_click"].value == 2.5
    assert "not taken" not in about.value
    panel.version_form.share.value = 150.0
    assert "0.1 to 100 % of the shoppers: 150 is not taken" in panel.version_form.answer.value
    assert panel.version_form.share.value == 100.0


def test_opening_one_pane_keeps_the_others(panel):
    panes = panel.box.children[-1].children
    for pane in panes:
        pane.selected_index = 0
    assert [pane.selected_index for pane in panes] == [0] * len(panes)


def test_a_tab_moves_its_own_weights(panel):
    titles = [panel.tabs.get_title(i) for i in range(len(panel.tabs.children))]
    panel.tabs.selected_index = titles.index("search")
    panel.sliders["w_new"].value = 1.0
    assert [o.key for o in panel.desk.draft.weight["w_new"].surface] == ["search"]
    panel.tabs.selected_index = 0
    assert panel.sliders["w_new"].value == 0.05
    assert [len(box.children) for box in panel.tabs.children] == [1, 0, 0, 0, 0]


def test_other_requests_are_turned_to(panel):
    before = panel.slates.value
    panel.next.click()
    assert panel.slates.value != before


def test_a_point_of_the_front_is_loaded(panel):
    searching = panel.front_search
    searching.across.value = "newcomer_exposure"
    searching.search.click()
    points = searching.figure.data[0]
    assert len(points.x) > 2
    searching._load(len(points.x) - 1)
    assert panel.sliders["w_new"].value == panel.desk.draft.weight["w_new"].value != 0.05
    assert "ctr" in searching.prices.value
    assert searching.progress.value == searching.progress.max
    assert searching.progress.layout.visibility == "hidden"


@pytest.mark.slow
def test_a_front_stays_in_its_own_tab(panel):
    searching = panel.front_search
    searching.across.value = "newcomer_exposure"
    searching.search.click()
    everywhere = tuple(searching.figure.data[0].x)
    panel.tabs.selected_index = 2
    assert searching.search.description == "Search: surface search"
    assert len(searching.figure.data[0].x) == 0
    before = panel.desk.draft
    searching._load(0)  # a click that was still under way
    assert panel.desk.draft == before
    searching.search.click()
    assert "surface search" in searching.figure.data[0].name
    assert "surface search" in searching.prices.value
    assert tuple(searching.figure.data[0].x) != everywhere
    searching._load(0)
    assert {o.key for w in panel.desk.draft.weights for o in w.surface} == {"search"}
    assert panel.tabs.selected_index == 2
    panel.tabs.selected_index = 0
    assert tuple(searching.figure.data[0].x) == everywhere
    assert panel.desk.draft.weight["w_new"].value == 0.05


def test_a_search_that_cannot_be_says_why(tmp_path):
    panel = Panel(Desk(toy(tmp_path, requests=80)))
    panel.tabs.selected_index = 1
    panel.front_search.search.click()
    assert "a search needs 60" in panel.front_search.prices.value
    assert not panel.front_search.search.disabled


def test_the_influence_is_that_of_the_draft_it_was_measured_on(panel):
    panel.measure.click()
    assert "w_new" in panel.influence.value
    panel.sliders["w_new"].value = 1.0
    assert panel.influence.value == ""


def test_a_guardrail_can_be_moved(panel):
    panel.sliders["w_new"].value = 2.0
    assert 'data-light="red"' in panel.outlook.value
    bound = panel.guardrails.bound["ctr, relative change at least"]
    assert bound.value == -1.0  # per cent
    bound.value = -90
    assert 'data-light="red"' not in panel.outlook.value
    assert panel.desk.guardrails[0].bound == -0.9
    bound.value = -120
    assert "cannot lose more than 100 %" in panel.guardrails.note.value
    assert bound.value == -90


def test_weights_say_what_they_pay_and_metrics_what_they_count(panel):
    panel.sliders["w_click"].value = 2.0
    assert "one click is worth SAR 2" in panel.weights._about["w_click"].value
    assert "clicks per item shown" in panel.outlook.value


def test_panes_open_beside_one_another(panel):
    panes = panel.box.children[-1].children
    assert [pane.selected_index for pane in panes] == [0, None, None, None]
    panes[1].selected_index = 0
    assert panes[0].selected_index == 0


def test_a_version_is_checked_saved_and_rolled_back(panel):
    saving = panel.version_form
    panel.sliders["w_new"].value = 0.06
    assert "+value = 0.06" in saving.changes.value
    saving.check.click()
    assert "nothing stands in the way" in saving.answer.value
    saving.save.click()
    assert "needs an owner" in saving.answer.value
    assert panel.desk.history() == ()
    saving.owner.value, saving.reason.value = "Noura", "Newcomers <3"
    saving.save.click()
    assert "they must agree first: ranking" in saving.answer.value
    (tick,) = saving.agreement.ticks.values()
    assert tick.description == "ranking agrees: w_new 0.05 -> 0.06"
    tick.value = True
    saving.save.click()
    assert "Version 2" in saving.answer.value
    assert "Newcomers &lt;3" in saving.history.value
    assert panel.desk.policy.version in panel.head.value
    assert panel.desk.policy.version in saving.served.value
    saving.number.value, saving.reason.value = 1, "It did not help."
    saving.back.click()
    assert [e.kind for e in panel.desk.history()] == ["found", "saved", "rolled back"]
    assert panel.sliders["w_new"].value == 0.05


def test_what_another_desk_put_in_force_is_seen_and_brought_in(panel):
    other = Desk(panel.desk.material)
    other.move({"w_click": 1.1})
    panel.sliders["w_new"].value = 0.06
    form = panel.version_form
    assert form.bring_in.layout.display == "none"
    other.save("ranking", "clicks", now=NOW)
    form.owner.value, form.reason.value = "ranking", "newcomers"
    form.save.click()
    assert "which your changes do not touch" in form.answer.value
    assert "Others have put in force since: w_click 1 -&gt; 1.1" in form.served.value
    form.bring_in.click()
    assert {name: slider.value for name, slider in panel.sliders.items()} == {"w_click": 1.1, "w_new": 0.06}
    form.save.click()
    assert "Version 3" in form.answer.value


def test_names_of_items_are_text_not_markup(panel):
    assert "&lt;b&gt;item" in panel.slates.value
    assert "<b>item" not in panel.slates.value


def test_the_desk_needs_no_tensorflow():
    code = "import sys, desk.notebook.panel; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
