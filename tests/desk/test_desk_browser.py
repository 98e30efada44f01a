"""The notebook as a page of its own: served by Voila, driven in a real Chromium."""

import sys

import pytest
from desk_browser import DOTS, NOTEBOOK, Looking, dragged_and_saved, searched_and_loaded, served

from desk.desk import Desk
from jobs.open_desk import material_of
from value_model.formula import load_policy

PANES = ("Publish", "Pareto front", "Guardrails", "What the weights say")
# Elements of the desk that reach beyond the screen, unless something around them scrolls.
WIDER = """
const kept = ['auto', 'scroll', 'hidden'];
const scrolls = e => e && (kept.includes(getComputedStyle(e).overflowX) || scrolls(e.parentElement));
return [...document.querySelectorAll('.desk-tabs *, .desk-more *')]
    .filter(e => e.getBoundingClientRect().right > arguments[0] + 1 && !scrolls(e.parentElement))
    .map(e => e.className + ' ' + e.getBoundingClientRect().right).slice(0, 9);
"""

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("run")]


@pytest.fixture(scope="module")
def looking(browser, copied_run, tmp_path_factory):
    command = (sys.executable, "-m", "voila", str(NOTEBOOK), "--no-browser", "--Voila.ip=127.0.0.1")
    log = tmp_path_factory.mktemp("voila") / "log"
    with served(command, {"VALUE_MODEL_RUN": str(copied_run)}, log=log) as address:
        browser.get(address)
        looking = Looking(browser)
        looking.one(".desk-slates .pair")
        looking.one(".desk-w_click .noUi-handle")
        yield looking


def test_a_slider_is_dragged_the_table_changes_and_a_version_is_saved(looking, copied_run):
    weight = looking.readout("w_click")
    dragged_and_saved(looking, copied_run, ("tuning_desk", "tuning_saved"))
    kept, before = (load_policy(copied_run / "policies" / name) for name in ("0002.toml", "0001.toml"))
    assert kept.weight["w_click"].value > weight
    assert kept.weight["w_click"].owner == "growth"
    assert [name for name in before.weight if kept.weight[name] != before.weight[name]] == ["w_click"]
    chosen = "return arguments[0].selectedOptions[0].text"
    assert looking.driver.execute_script(chosen, looking.all(".desk-more select")[0]).startswith("2:")
    assert Desk(material_of(copied_run, most=200)).policy == kept


def test_a_point_of_the_front_is_clicked_and_loaded(looking):
    searched_and_loaded(looking, scope="everywhere", picture="tuning_front")


def test_a_surface_has_its_own_tab_and_its_own_front(looking):
    looking.seen(looking.named(".desk-tabs .lm-TabBar-tab", "search")).click()
    looking.until(lambda: looking.html(".desk-slates").count('<b dir="auto">search') == 3)
    looking.unfold("Pareto front")
    looking.until(lambda: "Nothing was searched yet: surface search" in looking.html(".desk-prices"))
    looking.until(lambda: looking.all(DOTS) == [])
    before = looking.html(".desk-slates")
    looking.drag("w_order", 40)
    looking.until(lambda: looking.html(".desk-slates") != before)
    searched_and_loaded(looking, scope="surface search", picture="tuning_front_surface")
    assert looking.one(".desk-follow-w_order").is_displayed()


def test_the_influence_is_measured(looking):
    looking.unfold("What the weights say")
    looking.click("button.desk-measure")
    looking.until(lambda: "w_quality" in looking.html(".desk-influence"))
    looking.picture("tuning_worth", ".desk-more")


def test_what_is_typed_outside_the_bounds_is_said_beside_the_number(looking):
    before = looking.readout("w_gmv")
    looking.type(".desk-number-w_gmv input", "7")
    looking.until(lambda: "w_gmv lies between 0 and 0.5: 7 is not taken." in looking.one(".desk-outside").text)
    looking.until(lambda: looking.readout("w_gmv") == before)
    looking.type(".desk-number-w_gmv input", "0.25")
    looking.until(lambda: looking.all(".desk-outside") == [])
    assert looking.readout("w_gmv") == 0.25


def test_a_phone_shows_every_pane_at_once_and_scrolls_down_alone(looking):
    size = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    looking.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    for title in PANES:
        looking.unfold(title)
    for button in ("save", "search", "measure"):
        assert looking.one(f"button.desk-{button}").is_displayed()  # opening one pane kept the others
    beyond = looking.driver.execute_script(WIDER, 390)
    assert beyond == []
    assert looking.driver.execute_script("return document.documentElement.scrollWidth") <= 390
    looking.picture("tuning_phone", ".desk-tabs")
    looking.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_page_made_no_error_of_its_own(looking):
    assert looking.errors() == []
