"""The examples of docs/extending.md: each section's fenced blocks, so that a test can build and run them."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"


def blocks(section: str, language: str = "python") -> list[str]:
    """The fenced blocks of a `##` section, in order; raises KeyError for a section that the page does not have."""
    sections = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE.read_text("utf-8"), re.M | re.S))
    return re.findall(rf"^```{language}\n(.*?)^```", sections[section], re.M | re.S)
