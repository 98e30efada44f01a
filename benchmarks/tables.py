"""Write the result tables into README.md and docs/, between `<!-- bench: NAME -->` and `<!-- /bench -->`.

`make docs` writes them; a test fails where a page and its result file differ.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"(<!-- bench: ([\w-]+) -->\n).*?(<!-- /bench -->)", re.DOTALL)


def pages() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def table(name: str) -> str:
    """The Markdown table of one result file, with its data set and command beneath."""
    result = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())
    lines = ["| measure | value | 95 % interval | unit | bar | met |", "|---|---|---|---|---|---|"]
    for row in result["measures"]:
        interval = "" if row["interval"] is None else "{:.4g} .. {:.4g}".format(*row["interval"])
        met = {True: "yes", False: "**no**", None: ""}[row["met"]]
        bar = (row["bar"] or "").replace("<", "&lt;").replace(">", "&gt;")
        lines.append(f"| {row['name']} | {row['value']:.4g} | {interval} | {row['unit']} | {bar} | {met} |")
    lines += ["", f"Data: {result['data']}. Command: `{result['command']}` ({result['date']}).", ""]
    return "\n".join(lines)


def with_tables(text: str) -> str:
    """`text` with every marked block replaced by the table of its result file."""
    return BLOCK.sub(lambda match: f"{match[1]}{table(match[2])}{match[3]}", text)


if __name__ == "__main__":
    for page in pages():
        text = page.read_text()
        if (new := with_tables(text)) != text:
            page.write_text(new)
            print(f"wrote {page.relative_to(ROOT)}")
