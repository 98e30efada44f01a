"""The desk's HTML: a style, lines of prose, tables, numbers; every text is escaped."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from html import escape

STYLE = """<style>
.desk table { border-collapse: collapse; font-size: 12px; }
.desk .pair table { table-layout: fixed; width: 100%; }
.desk td, .desk th { padding: 2px 6px; text-align: left; vertical-align: middle; line-height: 1.35; }
.desk td, .desk th { white-space: nowrap; }
.desk th { color: #666; font-weight: 500; border-bottom: 1px solid #ccc; }
.desk .number { text-align: right; font-variant-numeric: tabular-nums; }
.desk .name { overflow: hidden; text-overflow: ellipsis; }
.desk .long { display: inline-block; max-width: 420px; white-space: normal; }
.desk .pair { display: flex; gap: 18px; margin: 2px 0 14px; }
.desk .pair > div { flex: 1; min-width: 0; }
.desk .bar { display: inline-block; height: 11px; vertical-align: middle; }
.desk .minus { opacity: .45; background-image: repeating-linear-gradient(45deg, #fff 0 2px, transparent 2px 4px); }
.desk .moved { background: #fff6dc; }
.desk .up { color: #2e9e4f; } .desk .down { color: #cf3b3b; }
.desk .light { display: inline-block; width: 11px; height: 11px; border-radius: 50%; }
.desk .note { background: #f4f4f4; padding: 5px 9px; font-size: 12px; margin: 3px 0; white-space: normal; }
.desk .bad { background: #fbe3e3; } .desk .good { background: #e2f3e6; }
.desk pre { font-size: 11px; line-height: 1.3; margin: 4px 0; }
.desk-tabs .lm-TabBar-tab { flex: 0 1 auto !important; padding: 0 12px !important; }
.desk .key { margin-right: 10px; font-size: 12px; }
</style>"""


def page(*parts: str) -> str:
    """Parts under the desk's style."""
    return f'{STYLE}<div class="desk">{"".join(parts)}</div>'


def note(text: str, *, kind: str = "") -> str:
    """A line of prose; kind "bad" or "good" colours it."""
    return f'<div class="note {kind}">{escape(text)}</div>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Collection[int] = ()) -> str:
    """Cells are HTML; the columns `numbers` stand right."""
    kinds = [' class="number"' if column in numbers else "" for column in range(len(head))]
    top = "".join(f"<th{kind}>{escape(cell)}</th>" for kind, cell in zip(kinds, head, strict=True))
    lines = ("".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(kinds, row, strict=True)) for row in rows)
    return f"<table><tr>{top}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def figure(value: float) -> str:
    """In four digits, aligned; thousands without a fraction."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.4g}".rstrip(".")
