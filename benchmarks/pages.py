"""Write into README.md and docs/ what can drift: result tables and the shipped formula.

`<!-- bench: NAME --> ... <!-- /bench -->` holds the table of benchmarks/results/NAME.json, `<!-- bench: NAME bars -->`
its measures that have a bar, `<!-- scoreboard --> ... <!-- /scoreboard -->` a line for each benchmark,
`<!-- formula: NAME --> ... <!-- /formula -->` a shipped value policy with its current weights,
`<!-- settings --> ... <!-- /settings -->` every setting of a run, `<!-- capacity --> ... <!-- /capacity -->` what loads
take.
`make docs` writes them; a test fails where a page differs from its source.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from benchmarks.capacity import lines
from benchmarks.record import RESULTS
from jobs.run_file import explained
from value_model.formula import ValuePolicy, shipped_policy

ROOT = Path(__file__).parent.parent
BENCH = re.compile(r"(<!-- bench: ([\w-]+)( bars)? -->\n).*?(<!-- /bench -->)", re.DOTALL)
FORMULA = re.compile(r"(<!-- formula: ([\w-]+) -->\n).*?(<!-- /formula -->)", re.DOTALL)

SETTINGS = re.compile(r"(<!-- settings -->\n).*?(<!-- /settings -->)", re.DOTALL)
SCOREBOARD = re.compile(r"(<!-- scoreboard -->\n).*?(<!-- /scoreboard -->)", re.DOTALL)
CAPACITY = re.compile(r"(<!-- capacity -->\n).*?(<!-- /capacity -->)", re.DOTALL)


def pages() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def result_of(name: str) -> dict[str, Any]:
    """The result file of benchmark `name`."""
    result: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return result


def table(name: str, *, bars_only: bool) -> str:
    """The Markdown table of one result file, with its data set and command beneath."""
    result = result_of(name)
    lines = ["| measure | value | 95 % interval | unit | bar | met |", "|---|---|---|---|---|---|"]
    for row in result["measures"]:
        if bars_only and row["bar"] is None:
            continue
        interval = "" if row["interval"] is None else "{:.4g} .. {:.4g}".format(*row["interval"])
        met = {True: "yes", False: "**no**", None: ""}[row["met"]]
        cells = (cell(row["name"]), f"{row['value']:.4g}", interval, cell(row["unit"]), bar_text(row), met)
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", f"Data: {result['data']}. Command: `{result['command']}` ({result['date']}).", ""]
    return "\n".join(lines)


def cell(text: str) -> str:
    """`text` as one cell of a table: a bar in it is no border."""
    return text.replace("|", "\\|")


def bar_text(row: dict[str, Any]) -> str:
    return (row["bar"] or "").replace("<", "&lt;").replace(">", "&gt;")


def table_pages() -> dict[str, Path]:
    """Of every benchmark whose table stands under docs/: the page."""
    return {
        match[2]: page for page in sorted((ROOT / "docs").rglob("*.md")) for match in BENCH.finditer(page.read_text())
    }


def scoreboard() -> str:
    """A line for each benchmark on record, by page: what it ran on, how many bars are met, and each missed one."""
    lines = ["| page | benchmark | data | bars met | missed |", "|---|---|---|---|---|"]
    for name, page in sorted(table_pages().items(), key=lambda entry: (entry[1], entry[0])):
        result, of_page = result_of(name), page.relative_to(ROOT)
        barred = [row for row in result["measures"] if row["bar"] is not None]
        missed = "; ".join(
            f"{cell(row['name'])}: {row['value']:.4g} ({bar_text(row)})" for row in barred if not row["met"]
        )
        met = f"{sum(row['met'] for row in barred)} of {len(barred)}" if barred else "no bar"
        lines.append(f"| [{page.stem}]({of_page}) | `{name}` | {result['data']} | {met} | {missed} |")
    return "\n".join(lines) + "\n"


def formula(policy: ValuePolicy) -> str:
    """A policy's expressions and weights, as an indented block."""
    width = max(len(part.name) for part in (*policy.expressions, *policy.weights))
    lines = [f"{part.name:<{width}} = {part.source}" for part in policy.expressions] + [""]
    for weight in policy.weights:
        overrides = "".join(f"; {override.key} {override.value:g}" for override in weight.surface)
        unit = "" if weight.unit == "1" else f" {weight.unit}"
        lines.append(f"{weight.name:<{width}} = {weight.value:g}{unit}{overrides}")
    return "".join(f"    {line}".rstrip() + "\n" for line in lines)


def settings() -> str:
    """The Markdown table of every setting."""
    head = ("setting", "default", "unit", "range", "meaning")
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for name, default, unit, within, meaning in explained():
        lines.append(f"| `{name}` | `{default}` | {unit} | {within} | {meaning} |")
    return "\n".join(lines) + "\n"


def with_blocks(text: str) -> str:
    """`text` with every marked block replaced by what its source says now."""
    text = BENCH.sub(lambda m: f"{m[1]}{table(m[2], bars_only=bool(m[3]))}{m[4]}", text)
    text = SCOREBOARD.sub(lambda m: f"{m[1]}{scoreboard()}{m[2]}", text)
    text = CAPACITY.sub(lambda m: "\n".join([m[1].rstrip(), *lines(), m[2]]), text)
    text = SETTINGS.sub(lambda m: f"{m[1]}{settings()}{m[2]}", text)
    return FORMULA.sub(lambda m: f"{m[1]}{formula(shipped_policy(m[2]))}{m[3]}", text)


if __name__ == "__main__":
    for page in pages():
        text = page.read_text()
        if (new := with_blocks(text)) != text:
            page.write_text(new)
            print(f"wrote {page.relative_to(ROOT)}")
