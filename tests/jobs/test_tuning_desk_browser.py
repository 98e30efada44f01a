"""The notebook as people see it: served by Voila, driven in a real Chromium."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from jobs.tuning_desk import Desk, material_of_run
from value_model.formula import load_policy

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("run")]

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "2_tune_the_value.ipynb"
PICTURES = os.environ.get("VALUE_MODEL_PICTURES")  # a folder: where the pictures of the docs are written
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
QUIET = ("disable-background-networking", "disable-component-update", "disable-sync", "disable-quic", "no-first-run")
PATIENCE = 120  # seconds


@pytest.fixture(scope="module")
def run(request, tmp_path_factory):
    """A copy of a run: a version is saved into it. VALUE_MODEL_RUN names another one, for prettier pictures."""
    folder = tmp_path_factory.mktemp("browser") / "run"
    source = Path(os.environ.get("VALUE_MODEL_RUN") or request.getfixturevalue("run_folder"))
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("policies", "bundles", "log.sqlite*"))
    return folder


@pytest.fixture(scope="module")
def page(run):
    """The address where Voila serves the notebook."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "voila", str(NOTEBOOK), "--no-browser", f"--port={port}", "--Voila.ip=127.0.0.1"]
    environment = os.environ | {"VALUE_MODEL_RUN": str(run)}
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}/"
    for _ in range(PATIENCE):
        try:
            urllib.request.urlopen(f"{address}voila/static/nothing", timeout=5)
        except urllib.error.HTTPError:
            break  # it answers
        except OSError:
            time.sleep(1)
    yield address
    server.terminate()
    server.wait(30)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if CHROMIUM is None or DRIVER is None:
        pytest.skip(f"no Chromium with its driver here (chromium: {CHROMIUM}, chromedriver: {DRIVER})")
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    profile = tmp_path_factory.mktemp("profile")
    for argument in ("headless", "no-sandbox", "disable-gpu", *QUIET, f"user-data-dir={profile}"):
        options.add_argument(f"--{argument}")
    options.add_argument("--window-size=1400,1560")
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.set_page_load_timeout(PATIENCE)
    yield driver
    driver.quit()


class Looking:
    """Finds and waits, by CSS."""

    def __init__(self, driver):
        self.driver = driver

    def all(self, css):
        return self.driver.find_elements("css selector", css)

    def one(self, css):
        return self.until(lambda: next(iter(self.all(css)), None))

    def html(self, css):
        return self.one(css).get_attribute("innerHTML")

    def until(self, found):
        end = time.monotonic() + PATIENCE
        while not (answer := found()):
            assert time.monotonic() < end, "nothing came"
            time.sleep(0.05)
        return answer

    def actions(self):
        from selenium.webdriver import ActionChains

        return ActionChains(self.driver)

    def drag(self, weight, pixels):
        handle = self.seen(self.one(f".desk-{weight} .noUi-handle"))
        self.actions().drag_and_drop_by_offset(handle, pixels, 0).perform()

    def seen(self, element):
        """The element, scrolled to the middle: pointers reach only what is in view."""
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        return element

    def readout(self, weight):
        return float(self.one(f".desk-{weight} .widget-readout").text)

    def picture(self, name, css):
        if PICTURES:
            self.driver.execute_script("arguments[0].scrollIntoView()", self.one(css))
            time.sleep(1)
            picture = Image.open(BytesIO(self.driver.get_screenshot_as_png()))
            picture.quantize(64).save(Path(PICTURES) / f"{name}.png", optimize=True)


@pytest.fixture(scope="module")
def looking(browser, page):
    browser.get(page)
    found = Looking(browser)
    found.one(".desk-slates .pair")
    found.one(".desk-w_click .noUi-handle")
    return found


def test_a_slider_is_dragged_the_table_changes_and_a_version_is_saved(looking, run):
    before, weight = looking.html(".desk-slates"), looking.readout("w_click")
    looking.drag("w_click", 90)
    looking.until(lambda: looking.html(".desk-slates") != before)
    assert looking.readout("w_click") > weight
    looking.until(lambda: 'class="moved"' in looking.html(".desk-slates"))
    looking.until(lambda: "data-light" in looking.html(".desk-outlook"))
    looking.picture("tuning_desk", ".desk-head")

    looking.one(".desk-save button, button.desk-save").click()
    looking.until(lambda: "needs an owner" in looking.html(".desk-answer"))
    assert not (run / "policies").exists()
    looking.one(".desk-owner input").send_keys("Noura")
    looking.one(".desk-reason input").send_keys("Clicks bring shoppers back.")
    looking.one("button.desk-check").click()
    looking.until(lambda: "needs an owner" not in looking.html(".desk-answer"))
    looking.one(".desk-despite input").click()
    looking.one("button.desk-save").click()
    looking.until(lambda: "Version 2" in looking.html(".desk-answer"))
    looking.until(lambda: "Clicks bring shoppers back." in looking.html(".desk-history"))
    looking.picture("tuning_saved", ".desk-more")
    kept = load_policy(run / "policies" / "0002.toml")
    assert kept.weight["w_click"].value > weight
    assert kept.weight["w_click"].owner == "Noura"
    found = load_policy(run / "policies" / "0001.toml")
    assert [name for name in found.weight if kept.weight[name] != found.weight[name]] == ["w_click"]
    chosen = "return arguments[0].selectedOptions[0].text"
    versions = looking.all(".desk-more select")[0]
    assert looking.driver.execute_script(chosen, versions).startswith("2:")
    assert Desk(material_of_run(run, most=200)).policy == kept


def test_a_point_of_the_front_is_clicked_and_loaded(looking):
    front = looking.all(".desk-more .jupyter-widget-Collapse-header")[1]
    assert front.text.startswith("Pareto front")
    front.click()
    looking.one("button.desk-search").click()
    dots = looking.until(lambda: looking.all(".scatterlayer .trace:first-child .points path")[2:])
    looking.until(lambda: "guardrail" in looking.html(".desk-prices"))
    weights = ("w_click", "w_order", "w_gmv", "w_merchant", "w_quality", "w_new")
    before = [looking.readout(name) for name in weights]
    looking.picture("tuning_front", "button.desk-search")
    looking.actions().move_to_element(looking.seen(dots[-1])).pause(0.5).click().perform()
    looking.until(lambda: [looking.readout(name) for name in weights] != before)


def test_a_surface_has_its_own_tab(looking):
    tab = next(t for t in looking.all(".desk-tabs .lm-TabBar-tab") if t.text.strip() == "search")
    looking.seen(tab).click()
    looking.until(lambda: looking.html(".desk-slates").count("<b>search") == 3)
    before = looking.html(".desk-slates")
    looking.drag("w_order", 40)
    looking.until(lambda: looking.html(".desk-slates") != before)


def test_the_page_made_no_error_of_its_own(looking):
    severe = [e["message"] for e in looking.driver.get_log("browser") if e["level"] == "SEVERE"]
    assert [message for message in severe if "cdn." not in message] == []
