"""Templates of the desk's HTML: loaded once, every text that is put into them escaped."""

from __future__ import annotations

from math import isfinite
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def figure(value: float) -> str:
    """In four digits, aligned; thousands without a fraction."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.4g}".rstrip(".")


def percent(share: float) -> str:
    """A signed share in %."""
    return f"{100 * share:+.2f} %" if isfinite(share) else "–"


TEMPLATES = Environment(
    loader=PackageLoader("desk"), autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
)
TEMPLATES.filters |= {"figure": figure, "percent": percent}


def render(name: str, **values: Any) -> str:
    """The page of templates/NAME.html.jinja, under the desk's style."""
    return TEMPLATES.get_template(f"{name}.html.jinja").render(values)
