"""Pages of the console as HTML: templates in either language, every text that is put into them escaped."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving.console.guardrail_bounds import bound_text, in_points
from serving.console.messages import Language, messages

if TYPE_CHECKING:
    from jinja2 import Environment

ROOT = "/console"
TEMPLATES = Path(__file__).with_name("templates")
DESK_PARTS = ("desk", "served", "experiments", "monitoring")  # answered by the desk's process
DESK_PATHS = tuple(f"{ROOT}/{language}/{part}" for language in Language for part in DESK_PARTS)
PARTS = ("try", *DESK_PARTS)  # of the console, in the order of its navigation


@dataclass(frozen=True)
class PageView:
    """Who looks at a page, and where: `path` is that of the page below ROOT/LANGUAGE."""

    language: Language
    path: str
    caller: str = ""
    csrf: str = ""
    open_to_all: bool = False  # no keys are configured
    signed_in: bool = False

    @property
    def root(self) -> str:
        return f"{ROOT}/{self.language}"

    @property
    def elsewhere(self) -> str:
        """The same page in the other language."""
        return f"{ROOT}/{self.language.other}/{self.path}"


def render(name: str, view: PageView, **values: Any) -> str:
    """The page or part of templates/NAME.html.jinja."""
    template = _environment().get_template(f"{name}.html.jinja")
    return template.render(t=messages(view.language), view=view, parts=PARTS, **values)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {"figure": figure, "bars": bars, "percent": percent, "bound": bound_text}
    environment.tests["in_points"] = in_points
    return environment


def figure(value: float) -> str:
    """In four digits, aligned; thousands without a fraction."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.4g}".rstrip(".")


def percent(share: float) -> str:
    """A signed share in %."""
    return f"{100 * share:+.2f} %" if isfinite(share) else "–"


def bars(terms: tuple[float, ...], longest: float) -> list[tuple[float, float, int, bool]]:
    """(start, length, number, below 0) of each term's bar in 0 .. 100, one behind the other."""
    placed, start = [], 0.0
    for number, term in enumerate(terms):
        length = 100 * abs(term) / longest
        placed.append((round(start, 2), round(length, 2), number, term < 0))
        start += length
    return placed
