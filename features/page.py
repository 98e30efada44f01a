"""Feature table: `python -m features.page` writes it into docs/features.md; a test finds it stale.

The page holds the features of defaults; those that a run has to name (Part.EXTRA) are printed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from features.definitions import DEFINITIONS, place
from features.spec import Feature, Kind
from features.state import Definition, Part

PAGE = Path(__file__).parent.parent / "docs" / "features.md"
BLOCK = re.compile(r"(<!-- features:begin -->\n).*?(<!-- features:end -->)", re.DOTALL)


def table(rows: Iterable[Definition]) -> str:
    """A Markdown table: name, group, kind, when it is in a spec, and meaning."""
    lines = [
        f"| `{row.feature.name}` | {row.feature.group} | {_kind(row.feature)} | {row.part} | {row.feature.meaning} |"
        for row in sorted(rows, key=lambda row: place(row.feature))
    ]
    return "\n".join(["| feature | group | kind | part | meaning |", "|---|---|---|---|---|", *lines, ""])


def _kind(feature: Feature) -> str:
    if feature.kind is Kind.NUMBER:
        return "number, log1p" if feature.log_scale else "number"
    kind = "category" if feature.kind is Kind.CATEGORY else f"up to {feature.length} categories"
    return kind if feature.vocabulary in (None, feature.name) else f"{kind} of `{feature.vocabulary}`"


def with_table(text: str) -> str:
    """The page's text with the table as the definitions have it now."""
    rows = table(row for row in DEFINITIONS if row.part is not Part.EXTRA)
    return BLOCK.sub(lambda block: f"{block[1]}{rows}{block[2]}", text)


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text()))
    print(table(row for row in DEFINITIONS if row.part is Part.EXTRA))
