"""The console in a real browser: what is checked of every page, and what people do on it."""

from __future__ import annotations

import time
from io import BytesIO
from pathlib import Path

from desk_browser import PICTURES, Looking
from PIL import Image

FAULTS = Path(__file__).with_name("page_faults.js").read_text()
TABBABLE = """
const takes_focus = 'a[href], button:enabled, input:not([type=hidden]), select, summary, [tabindex="0"]';
window.stops = [...document.querySelectorAll(takes_focus)].filter(e => e.checkVisibility());
stops[0].focus();
return stops.length;
"""
STOP = """
const e = document.activeElement, box = e.getBoundingClientRect();
const inside = box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
return [stops.indexOf(e), getComputedStyle(e).outlineStyle !== 'none' && inside, e.outerHTML.slice(0, 120)];
"""
PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
SMALLEST = PHONE | {"width": 320, "height": 568}


class Console(Looking):
    """The pages at `address` in one language."""

    def __init__(self, driver, address: str, language: str) -> None:
        super().__init__(driver)
        self.root, self.language = f"{address}/console/{language}", language

    def open(self, path: str) -> None:
        self.driver.get(f"{self.root}/{path}")
        self.until(lambda: self.driver.execute_script("return window.htmx !== undefined"))

    def faults(self) -> list[str]:
        return self.driver.execute_script(FAULTS)

    def unreached(self) -> list[str]:
        """What the key Tab does not reach in the order of the page, or where it cannot be seen to be."""
        wrong = []
        for expected in range(1, self.driver.execute_script(TABBABLE)):
            self.press("TAB")
            number, shown, html = self.driver.execute_script(STOP)
            if number != expected or not shown:
                wrong.append(f"stop {expected} is {number}, {'seen' if shown else 'not seen'}: {html}")
        return wrong

    def press(self, *keys: str) -> None:
        """Keys by their names in Selenium, or as text."""
        from selenium.webdriver import Keys

        self.actions().send_keys(*(getattr(Keys, key, key) for key in keys)).perform()

    def tab_to(self, css: str) -> None:
        """The key Tab, until an element has the focus."""
        self.one(css)
        for _ in range(300):
            self.press("TAB")
            if self.has_focus(css):
                return
        raise AssertionError(f"Tab does not reach {css}")

    def has_focus(self, css: str) -> bool:
        return self.driver.execute_script("return document.activeElement.matches(arguments[0])", css)

    def phone_faults(self, *, picture: str = "") -> list[str]:
        """The same at a phone's width, and at the smallest one's; every pane open."""
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
        if picture:
            self.picture(picture, "header")
        self.driver.execute_script("for (const e of document.querySelectorAll('details')) e.open = true")
        faults = self.faults()
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", SMALLEST)
        faults += self.faults()
        self.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        return faults

    def picture(self, name: str, css: str) -> None:
        """For the docs; without what is empty below the page."""
        if not PICTURES:
            return
        self.driver.execute_script("arguments[0].scrollIntoView()", self.one(css))
        time.sleep(0.5)
        end = self.driver.execute_script("return document.querySelector('main').getBoundingClientRect().bottom")
        shot = Image.open(BytesIO(self.driver.get_screenshot_as_png())).convert("RGB")
        shot = shot.crop((0, 0, shot.width, min(shot.height, int(end))))
        shot.quantize(192).save(Path(PICTURES) / f"{name}.png", optimize=True)

    def fill(self, css: str, text: str) -> None:
        field = self.seen(self.one(css))
        field.clear()
        field.send_keys(text)

    def choose(self, css: str, value: str) -> None:
        from selenium.webdriver.support.select import Select

        Select(self.seen(self.one(css))).select_by_value(value)

    def slide(self, weight: str, value: float) -> None:
        """As a hand does: the slider says where it is while it moves."""
        slider = self.seen(self.one(f"input[data-number=w-{weight}]"))
        move = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input', {bubbles: true}))"
        self.driver.execute_script(move, slider, value)

    def number(self, weight: str) -> float:
        return float(self.one(f"#w-{weight}").get_attribute("value"))

    def unfold(self, css: str) -> None:
        self.driver.execute_script("arguments[0].closest('details').open = true", self.all(css)[0])

    def answer(self) -> str:
        return self.one("#answer").text
