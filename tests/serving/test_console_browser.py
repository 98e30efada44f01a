"""The console over a whole run in Chromium: every action, in English and in Arabic, and pictures for the docs."""

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from console_browser import Console
from test_api_keys import toml

from desk.versions import Versions
from evaluation.experiments.decisions import read_decisions
from evaluation.monitoring.history import History
from jobs.serve import running
from value_model.formula import load_policy, to_toml

EXPERIMENT = """name = "{name}"
hypothesis = "Clicks that weigh more bring shoppers back, and orders with them."
owner = "growth"
start = {start:%Y-%m-%dT%H:%M:%SZ}
days = 28
control = "in_force"

[[variants]]
name = "in_force"
share = 0.5

[[variants]]
name = "more_clicks"
share = 0.5
policy = "policies/more_clicks.toml"

[metrics]
primary = "ctr"
minimum_effect = 0.05

[[guardrails]]
metric = "gmv_per_user"
at_least = -0.05
"""
FIGURES = {"requests": 7.3, "rate.click": -2.4, "rate.order": -2.0, "calibration.ctr.all": 0.02, "gini": 0.4}

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("run")]


@pytest.fixture(scope="module")
def folder(request, tmp_path_factory):
    """A whole run that may be changed; VALUE_MODEL_RUN names another, for prettier pictures."""
    source = Path(os.environ.get("VALUE_MODEL_RUN") or request.getfixturevalue("run_folder"))
    folder = tmp_path_factory.mktemp("served") / "shop"
    shutil.copytree(source, folder, symlinks=True, ignore=shutil.ignore_patterns("policies", "log.sqlite*"))
    write_watched_days(folder)
    return folder


def write_watched_days(folder):
    """Six weeks as a watcher would have written them, the last with clicks that are gone."""
    rng, history = np.random.default_rng(0), History()
    history.name_all(list(FIGURES))
    for day in range(42):
        errors = rng.normal(0, 0.05, len(FIGURES))
        kept = np.ones(len(FIGURES), bool)
        if day == 41:
            errors[1], kept[1] = -0.9, False
        time = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day)
        history.add(time, np.array([*FIGURES.values()]) + errors, errors, errors, kept=kept, counts={}, usual=True)
    history.open_since = {"clicks_lost": time}
    (folder / "watch").mkdir()
    history.write(folder / "watch" / "history.json")


def write_experiment(folder, name):
    policy = load_policy(folder / "bundle" / "policy.toml")
    (folder / "experiments" / "policies").mkdir(parents=True, exist_ok=True)
    changed = policy.with_weights({"w_click": 0.5})
    (folder / "experiments" / "policies" / "more_clicks.toml").write_text(to_toml(changed))
    start = datetime.now(UTC) - timedelta(days=1)
    (folder / "experiments" / f"{name}.toml").write_text(EXPERIMENT.format(name=name, start=start))


@pytest.fixture(scope="module")
def address(folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VALUE_MODEL_KEYS", toml())
        with running(folder, log=folder / "log.sqlite") as address:
            yield address


@pytest.fixture(scope="module", params=["en", "ar"])
def console(request, browser, address):
    """Signed in with the key of the scope admin."""
    browser.delete_all_cookies()
    console = Console(browser, address, request.param)
    console.open("desk")
    assert browser.current_url.endswith("/login")
    console.fill("[name=key]", "key of nobody\n")
    console.until(lambda: console.all("[role=alert]"))
    console.fill("[name=key]", "key of ops\n")
    console.until(lambda: console.all("#surface"))
    browser.set_window_size(1280, 1150)
    return console


def looked_at(console, name):
    """The page has no fault, at a phone's width neither, and is drawn for the docs."""
    console.picture(f"console_{name}_{console.language}", "header")
    assert console.faults() == []
    assert console.unreached() == []
    assert console.phone_faults(picture=f"console_{name}_phone_{console.language}") == []


def test_a_request_is_tried_alone_and_under_two_policies(console):
    console.open("try")
    console.choose("#surface", "home")
    console.click(".fields .do")
    console.until(lambda: len(console.all("table.slate tbody tr")) == 10)
    looked_at(console, "try")
    console.choose("#against", "in force")
    console.fill("#weights", "w_merchant=0\n")
    console.until(lambda: len(console.all("table.compared")) == 2)
    looked_at(console, "compared")
    console.fill("#weights", "w_merchants=0\n")
    console.until(lambda: console.all("#slate [role=alert]"))


def test_weights_are_moved_searched_checked_staged_and_the_trial_is_ended(console, folder):
    versions = Versions(folder / "policies")
    before = len(versions.entries())
    console.open("desk")
    console.one("#w-w_click")
    weight = console.number("w_click")
    console.slide("w_click", 0.6)
    console.until(lambda: console.all("#results .moved"))
    assert console.number("w_click") == 0.6
    looked_at(console, "desk")

    console.fill("#w-w_gmv", "7")
    console.until(lambda: "7 is not taken" in console.answer())
    console.click("button[formaction$=restore][value=w_click]")
    console.until(lambda: console.number("w_click") == weight)
    console.until(lambda: not console.all("#answer"))

    console.unfold("#front")
    console.click("#front .do")
    console.until(lambda: console.all("svg.front circle"))
    console.picture(f"console_front_{console.language}", "#front")
    console.driver.execute_script("arguments[0].dispatchEvent(new Event('click'))", console.all("svg.front circle")[-1])
    console.until(lambda: console.all("#answer"))
    assert console.faults() == []

    console.unfold("#influence")
    console.click("form[action$=influence] button")
    console.until(lambda: "w_click" in console.one("#influence table").text or console.all("#influence tr"))
    console.click("#publish [formaction$=check]")
    console.until(lambda: console.all("#checks .note"))
    console.click("#publish .do")
    console.until(lambda: "needs an owner and a reason" in console.answer())
    for css, text in (("owner", "growth"), ("reason", "Clicks bring shoppers back."), ("share", "10")):
        console.fill(f"#publish [name={css}]", text)
    for tick in console.all("#publish [type=checkbox]"):
        if tick.get_attribute("name") != "reviewed":
            console.seen(tick).click()
    console.click("#publish .do")
    console.until(lambda: len(versions.entries()) > before and console.all("#answer.good"))
    staged = versions.entries()[-1]
    assert (staged.owner, staged.share) == ("growth", 0.1)

    console.open("served")
    assert staged.version in console.one("main").text
    console.choose("[name=what]", "trial")
    console.fill("[name=owner]", "growth")
    console.fill("[name=reason]", "Seen enough.")
    console.click(".row .do")
    console.until(lambda: console.all("#answer.good"))
    assert (versions.entries()[-1].reason, versions.entries()[-1].key) == ("Seen enough.", "ops")
    looked_at(console, "served")


def test_a_weight_is_moved_and_checked_by_keyboard_alone(console):
    console.open("desk")
    console.one("#w-w_click")
    console.press("TAB")
    assert console.has_focus(".skip")
    console.press("ENTER")
    assert console.has_focus("main")
    weight = console.number("w_click")
    console.tab_to("input[data-number=w-w_click]")
    console.press(*["ARROW_LEFT" if console.language == "ar" else "ARROW_RIGHT"] * 20)  # where one reads on
    console.until(lambda: "%" in console.all("#status")[0].get_attribute("textContent"))
    assert console.number("w_click") > weight
    assert console.has_focus("input[data-number=w-w_click]")
    console.tab_to("button[formaction$=restore][value=w_click]")
    console.press("ENTER")
    console.until(lambda: console.number("w_click") == weight and console.has_focus("#w-w_click"))
    console.tab_to("#publish [formaction$=check]")
    console.press("ENTER")
    console.until(lambda: console.all("#checks .note") and console.has_focus("#publish [formaction$=check]"))
    console.tab_to("details:has(#influence) summary")
    console.press("ENTER")
    console.tab_to("form[action$=influence] button")
    console.press("ENTER")
    console.until(lambda: console.all("#influence tr") and console.has_focus("form[action$=influence] button"))


def test_an_earlier_version_and_another_bundle_are_put_in_force(console, folder):
    for choice, told in (("version:1", "Back to the first."), (None, "Back to the bundle.")):
        console.open("served")
        choices = [e.get_attribute("value") for e in console.all("[name=what] option")]
        console.choose("[name=what]", choice or next(e for e in choices if e.startswith("bundle:")))
        console.fill("[name=owner]", "ops")
        console.fill("[name=reason]", told)
        console.click(".row .do")
        console.until(lambda: console.all("#answer.good"))
        assert Versions(folder / "policies").entries()[-1].reason == told


def test_an_experiment_is_read_and_stopped(console, folder):
    name = f"more_clicks_{console.language}"
    write_experiment(folder, name)
    console.open("experiments")
    console.until(lambda: name in console.one("main").text)
    console.click("a[href$='bounds=read']")
    form, section = (f"{tag}:has(option[value='{name}'])" for tag in ("form", "section"))
    console.until(lambda: "held" in console.one(section).text and not console.all("progress"))
    looked_at(console, "experiments")
    console.fill(f"{form} [name=owner]", "growth")
    console.fill(f"{form} [name=reason]", "Complaints.")
    console.click(f"{form} .danger")
    console.until(lambda: console.all("#answer.good"))
    (decision,) = read_decisions(folder / "experiments" / f"{name}.decisions.json")
    assert (decision.by, decision.reason, decision.variants) == ("growth", "Complaints.", ("more_clicks",))


def test_the_last_judged_day_is_seen(console):
    console.open("monitoring")
    console.until(lambda: "clicks_lost" in console.one("main").text)
    assert len(console.all(".spark polyline")) == len(FIGURES)
    looked_at(console, "monitoring")


def test_whoever_signs_out_sees_no_more_and_no_page_made_an_error(console):
    console.open("try")
    console.click(".who button")
    console.until(lambda: console.all("[name=key]"))
    console.open("served")
    assert console.all("[name=key]")
    assert [message for message in console.errors() if "401" not in message and "40" not in message] == []
