"""Writes the table of standard features into docs/features.md: `python -m features.page`; a test finds it stale."""

from __future__ import annotations

import re
from pathlib import Path

from features.definitions import standard_spec
from features.spec import Feature, FeatureSpec, Kind

PAGE = Path(__file__).parent.parent / "docs" / "features.md"
BLOCK = re.compile(r"(<!-- features:begin -->\n).*?(<!-- features:end -->)", re.DOTALL)


def table(spec: FeatureSpec) -> str:
    """A Markdown table: name, group, kind and meaning."""
    rows = [
        f"| `{feature.name}` | {feature.group} | {_kind(feature)} | {feature.meaning} |" for feature in spec.features
    ]
    return "\n".join(["| feature | group | kind | meaning |", "|---|---|---|---|", *rows, ""])


def _kind(feature: Feature) -> str:
    if feature.kind is Kind.NUMBER:
        return "number, log1p" if feature.log_scale else "number"
    kind = "category" if feature.kind is Kind.CATEGORY else f"up to {feature.length} categories"
    return kind if feature.vocabulary in (None, feature.name) else f"{kind} of `{feature.vocabulary}`"


def with_table(text: str) -> str:
    """The page's text with the table as the definitions have it now."""
    return BLOCK.sub(lambda block: f"{block[1]}{table(standard_spec(against_list=True))}{block[2]}", text)


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text()))
