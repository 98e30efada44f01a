"""Tables of features and statistics: `python -m features.page` writes docs/features.md; a test finds them stale.

The page holds the features of defaults; those that a run has to name (Part.EXTRA) are printed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from features.definitions import DEFINITIONS, place
from features.spec import Feature, Kind
from features.state import Definition, Part
from features.statistics import STATISTICS, Statistic

PAGE = Path(__file__).parent.parent / "docs" / "features.md"
BLOCK = re.compile(r"(<!-- (features|statistics):begin -->\n).*?(<!-- \2:end -->)", re.DOTALL)
ENGINE_NAMES = {"clickhouse": "ClickHouse", "bigquery": "BigQuery", "spark": "Spark"}


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


def statistics_table() -> str:
    """A Markdown table: a statistic's name, the features that read it, and the engines whose SQL computes it."""
    lines = [
        f"| `{row.name}` | {', '.join(f'`{one.feature.name}`' for one in row.definitions)} | {_engines(row)} |"
        for row in STATISTICS
    ]
    return "\n".join(["| statistic | features that read it | point-in-time SQL |", "|---|---|---|", *lines, ""])


def _engines(statistic: type[Statistic]) -> str:
    queries = statistic.point_in_time()
    able = [name for engine, name in ENGINE_NAMES.items() if queries and all(engine in one.engines for one in queries)]
    engines = ", ".join(able) or "none"
    return f"{engines}: {statistic.without_sql}" if statistic.without_sql else engines


def with_tables(text: str) -> str:
    """The page's text with its tables as the definitions have them now."""
    features = table(row for row in DEFINITIONS if row.part is not Part.EXTRA)
    tables = {"features": features, "statistics": statistics_table()}
    return BLOCK.sub(lambda block: f"{block[1]}{tables[block[2]]}{block[3]}", text)


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text()))
    print(table(row for row in DEFINITIONS if row.part is Part.EXTRA))
