"""The tuning notebook in a real browser: a server on loopback, a headless Chromium, and what people do with both."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "2_tune_the_value.ipynb"
PICTURES = os.environ.get("VALUE_MODEL_PICTURES")  # a folder: where the pictures of the docs are written
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
QUIET = ("disable-background-networking", "disable-component-update", "disable-sync", "disable-quic", "no-first-run")
PATIENCE = 120  # seconds
DOTS = ".scatterlayer .trace:first-child .points path"  # of the front


@contextmanager
def served(command: Sequence[str], environment: Mapping[str, str], *, log: Path) -> Iterator[str]:
    """The address, ending in /, where `command` with `--port` serves."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with log.open("w") as output:
        server = subprocess.Popen(
            [*command, f"--port={port}"], env=os.environ | dict(environment), stdout=output, stderr=output
        )
    address = f"http://127.0.0.1:{port}/"
    try:
        for _ in range(PATIENCE):
            if _answers(f"{address}static/nothing"):
                break
            time.sleep(1)
        yield address
    finally:
        server.terminate()
        server.wait(30)


def _answers(address: str) -> bool:
    try:
        urllib.request.urlopen(address, timeout=5)
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


@contextmanager
def chromium(profile: Path, *, width: int = 1400, height: int = 1560):
    """A driver, or a skipped test where there is no browser."""
    if CHROMIUM is None or DRIVER is None:
        pytest.skip(f"no Chromium with its driver here (chromium: {CHROMIUM}, chromedriver: {DRIVER})")
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("headless", "no-sandbox", "disable-gpu", *QUIET, f"user-data-dir={profile}"):
        options.add_argument(f"--{argument}")
    options.add_argument(f"--window-size={width},{height}")
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.set_page_load_timeout(PATIENCE)
    try:
        yield driver
    finally:
        driver.quit()


class Looking:
    """Finds and waits, by CSS."""

    def __init__(self, driver):
        self.driver = driver

    def all(self, css):
        return self.driver.find_elements("css selector", css)

    def one(self, css):
        """The one that is seen: a tab that was left keeps its widgets for a moment."""
        return self.until(lambda: next((e for e in self.all(css) if e.is_displayed()), None))

    def named(self, css, text):
        """The element whose text begins so."""
        return self.until(lambda: next((e for e in self.all(css) if e.text.strip().startswith(text)), None))

    def html(self, css):
        return self.one(css).get_attribute("innerHTML")

    def until(self, condition):
        """What it answers once it is true; elements that are drawn anew meanwhile are looked for again."""
        from selenium.common.exceptions import StaleElementReferenceException

        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                if answer := condition():
                    return answer
            except StaleElementReferenceException:
                pass
            time.sleep(0.05)
        raise AssertionError("nothing came")

    def actions(self):
        from selenium.webdriver import ActionChains

        return ActionChains(self.driver)

    def click(self, css):
        self.seen(self.one(css)).click()

    def unfold(self, title):
        """Open a part of the page, if it is not."""
        part = self.named(".desk-more .jupyter-widget-Collapse", title)
        if "jupyter-widget-Collapse-open" not in part.get_attribute("class"):
            self.seen(part.find_element("css selector", ".jupyter-widget-Collapse-header")).click()

    def drag(self, weight, pixels):
        handle = self.seen(self.one(f".desk-{weight} .noUi-handle"))
        self.actions().drag_and_drop_by_offset(handle, pixels, 0).perform()

    def seen(self, element):
        """The element, scrolled to the middle: pointers reach only what is in view."""
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        return element

    def readout(self, weight):
        return float(self.one(f".desk-number-{weight} input").get_attribute("value"))

    def type(self, css, text):
        """What stands in a field is replaced by `text`, and the field is left."""
        from selenium.webdriver import Keys

        self.seen(self.one(css)).send_keys(Keys.CONTROL, "a", Keys.NULL, text, Keys.TAB)

    def picture(self, name, css):
        if PICTURES:
            self.driver.execute_script("arguments[0].scrollIntoView()", self.one(css))
            time.sleep(1)
            picture = Image.open(BytesIO(self.driver.get_screenshot_as_png()))
            picture.quantize(128).save(Path(PICTURES) / f"{name}.png", optimize=True)

    def errors(self):
        """What the browser's console holds against the page itself."""
        severe = [e["message"] for e in self.driver.get_log("browser") if e["level"] == "SEVERE"]
        return [message for message in severe if "cdn." not in message]


def searched_and_loaded(looking: Looking, *, scope: str, picture: str) -> None:
    """The open tab is searched, and its front's last point clicked until the point's weights are on the sliders."""
    looking.unfold("Pareto front")
    looking.click("button.desk-search")
    looking.until(lambda: "guardrail" in looking.html(".desk-prices"))
    looking.until(lambda: [e.text for e in looking.all(".legendtext")][:1] == [f"front: {scope}"])
    looking.until(lambda: len(looking.all(DOTS)) > 1)
    weights = ("w_click", "w_order", "w_gmv", "w_merchant", "w_quality", "w_new")
    before = [looking.readout(name) for name in weights]
    looking.picture(picture, "button.desk-search")

    def clicked():
        dot = looking.seen(looking.all(DOTS)[-1])
        looking.actions().move_to_element_with_offset(dot, 3, 0).move_to_element(dot).pause(0.5).click().perform()
        time.sleep(1)
        return [looking.readout(name) for name in weights] != before

    looking.until(clicked)  # a busy page may miss a click: it is told of the point only once it has seen the pointer


def dragged_and_saved(looking: Looking, run: Path, pictures: tuple[str, str]) -> None:
    """A slider is dragged, the table and the lights change, and version 2 is written, not without its owner."""
    before, weight = looking.html(".desk-slates"), looking.readout("w_click")
    looking.drag("w_click", 90)
    looking.until(lambda: looking.html(".desk-slates") != before)
    assert looking.readout("w_click") > weight
    looking.until(lambda: 'class="moved"' in looking.html(".desk-slates"))
    looking.until(lambda: "data-light" in looking.html(".desk-outlook"))
    looking.picture(pictures[0], ".desk-head")

    looking.click("button.desk-save")
    looking.until(lambda: "needs an owner" in looking.html(".desk-answer"))
    assert not (run / "policies").exists()
    looking.one(".desk-owner input").send_keys("growth")
    looking.one(".desk-reason input").send_keys("Clicks bring shoppers back.")
    looking.click("button.desk-check")
    looking.until(lambda: "needs an owner" not in looking.html(".desk-answer"))
    looking.click(".desk-despite input")
    looking.click("button.desk-save")
    looking.until(lambda: "Version 2" in looking.html(".desk-answer"))
    looking.until(lambda: "Clicks bring shoppers back." in looking.html(".desk-history"))
    looking.picture(pictures[1], ".desk-more")
