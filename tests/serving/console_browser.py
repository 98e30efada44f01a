"""The console in a real browser: what is checked of every page, and what people do on it."""

from __future__ import annotations

import time
from io import BytesIO
from pathlib import Path

from desk_browser import PICTURES, Looking
from PIL import Image

# What a screen reader and a keyboard need, and what a phone must not do: a list of what is wrong with the page.
FAULTS = """
const wrong = [], all = css => [...document.querySelectorAll(css)], start = e => e.outerHTML.slice(0, 120);
const labelled = e => e.labels?.length || e.getAttribute('aria-label') || e.type === 'hidden';
for (const e of all('input, select, textarea')) if (!labelled(e)) wrong.push('no label: ' + start(e));
for (const e of all('button, a')) if (!(e.textContent.trim() || e.ariaLabel)) wrong.push('no name: ' + start(e));
for (const tag of ['main', 'h1', 'nav']) if (!document.querySelector(tag)) wrong.push('no ' + tag);
const ids = all('[id]').map(e => e.id);
for (const id of new Set(ids.filter((id, i) => ids.indexOf(id) !== i))) wrong.push('twice: ' + id);
for (const name of ['aria-labelledby', 'aria-describedby'])
    for (const e of all(`[${name}]`))
        if (!document.getElementById(e.getAttribute(name))) wrong.push('points nowhere: ' + start(e));
for (const e of all('[style], [onclick]')) wrong.push('inline: ' + start(e));
const width = document.documentElement.scrollWidth;
if (width > innerWidth) wrong.push('wider than the screen: ' + width);
return wrong;
"""
PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}


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

    def phone_faults(self, *, picture: str = "") -> list[str]:
        """The same at a phone's width; every pane open."""
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
        if picture:
            self.picture(picture, "header")
        self.driver.execute_script("for (const e of document.querySelectorAll('details')) e.open = true")
        faults = self.faults()
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
