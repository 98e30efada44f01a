"""The desk's views as HTML: plain functions of what the desk answers; every text is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from math import isfinite

from jobs.guardrails import Guarded, Light
from jobs.tuning_desk.checking import Checked
from jobs.tuning_desk.desk import View
from jobs.tuning_desk.exploring import Explored
from jobs.tuning_desk.side_by_side import Placed, SideBySide
from jobs.tuning_desk.versions import Entry
from value_model.tuning import Change, Estimator, ShadowPrice

COLOURS = ("#3b6fb6", "#e08a1e", "#3f9b57", "#a154a8", "#c94f4f", "#2f9fa3", "#8a6d3b", "#7a7a7a")
LIGHTS = {Light.GREEN: "#2e9e4f", Light.AMBER: "#e0a100", Light.RED: "#cf3b3b"}
ESTIMATORS = {
    Estimator.DR: "Doubly robust",
    Estimator.IPS: "By inverse propensities",
    Estimator.DIRECT: "By the heads alone",
}
BAR = 130  # pixels of the longest bar

STYLE = """<style>
.desk table { border-collapse: collapse; font-size: 12px; width: 100%; }
.desk td, .desk th { padding: 2px 6px; text-align: left; vertical-align: middle; line-height: 1.35; }
.desk td, .desk th { white-space: nowrap; }
.desk th { color: #666; font-weight: 500; border-bottom: 1px solid #ccc; }
.desk .number { text-align: right; font-variant-numeric: tabular-nums; }
.desk .name { max-width: 170px; overflow: hidden; text-overflow: ellipsis; }
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
.desk .key { margin-right: 10px; font-size: 12px; }
</style>"""


def page(*parts: str) -> str:
    """Parts under the desk's style."""
    return f'{STYLE}<div class="desk">{"".join(parts)}</div>'


def note(text: str, *, kind: str = "") -> str:
    """A line of prose; kind "bad" or "good" colours it."""
    return f'<div class="note {kind}">{escape(text)}</div>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells are HTML; a cell that begins with a digit or a sign stands right."""
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    return f"<table><tr>{top}</tr>{''.join('<tr>' + ''.join(map(_cell, row)) + '</tr>' for row in rows)}</table>"


def _cell(content: str) -> str:
    number = content[:1].isdigit() or (content[:1] in "+-−" and content[1:2].isdigit())
    return f'<td class="number">{content}</td>' if number else f"<td>{content}</td>"


def slates(view: View) -> str:
    """Requests side by side, today's order left and the draft's right."""
    if not view.slates:
        return page(note("No request of this tab shows more than one item."))
    return page(_legend(view.slates[0].labels), *(_pair(slate) for slate in view.slates))


def _legend(labels: Sequence[str]) -> str:
    keys = (
        f'<span class="key"><span class="bar" style="width:11px;background:{_colour(i)}"></span> {escape(label)}</span>'
        for i, label in enumerate(labels)
    )
    return f"<div>{''.join(keys)}<span class='key'>hatched = takes value away</span></div>"


def _pair(slate: SideBySide) -> str:
    longest = max((sum(map(abs, item.terms)) for item in (*slate.before, *slate.after)), default=0.0) or 1.0
    count = f"{slate.moved} of {len(slate.after)} places changed" if slate.moved else "nothing moved"
    sides = (("in force", slate.before, False), ("draft", slate.after, True))
    lists = (
        f"<div><table>{_title(title)}{''.join(_row(item, longest, new) for item in items)}</table></div>"
        for title, items, new in sides
    )
    return f"<b>{escape(slate.title)}</b> <small>{count}</small><div class='pair'>{''.join(lists)}</div>"


def _title(text: str) -> str:
    return f"<tr><th colspan=5>{text}</th></tr>"


def _row(item: Placed, longest: float, after: bool) -> str:
    moved = ' class="moved"' if after and item.climbed else ""
    return (
        f'<tr{moved}><td class="number">{item.place}</td><td>{_mark(item) if after else ""}</td>'
        f'<td class="name" title="{escape(item.item)} · {escape(item.merchant)}">{escape(item.item)}</td>'
        f'<td>{_bars(item.terms, longest)}</td><td class="number">{item.value:.4g}</td></tr>'
    )


def _mark(item: Placed) -> str:
    if not item.climbed:
        return ""
    kind, arrow = ("up", "▲") if item.climbed > 0 else ("down", "▼")
    return f'<span class="{kind}">{arrow}{abs(item.climbed)}</span>'


def _bars(terms: Sequence[float], longest: float) -> str:
    return "".join(
        f'<span class="bar{" minus" if term < 0 else ""}" title="{term:+.4g}" '
        f'style="width:{BAR * abs(term) / longest:.1f}px;background-color:{_colour(i)}"></span>'
        for i, term in enumerate(terms)
    )


def _colour(term: int) -> str:
    return COLOURS[term % len(COLOURS)]


def outlook(view: View, *, currency: str) -> str:
    """Predicted metrics with intervals and the guardrails' lights; what is not promised is said first."""
    held = {row.constraint.metric: row for row in view.guarded}
    rows = [
        (
            _light(held.get(name)),
            escape(name),
            f"{change.now.value:.4g}",
            f"{change.proposed.value:.4g}",
            _percent(change.relative.value),
            _interval(change),
            escape("share" if change.metric.unit == "1" else change.metric.unit.replace("currency", currency)),
        )
        for name, change in view.prediction.changes.items()
    ]
    head = ("", "metric", "in force", "draft", "change", "95 % interval of the change", "unit")
    return page(*_trust(view), table(head, rows), _movement(view))


def _light(guarded: Guarded | None) -> str:
    if guarded is None:
        return ""
    return (
        f'<span class="light" style="background:{LIGHTS[guarded.light]}" title="{escape(guarded.reason)}" '
        f'data-light="{guarded.light}"></span>'
    )


def _percent(share: float) -> str:
    return f"{100 * share:+.2f} %" if isfinite(share) else "–"


def _interval(change: Change) -> str:
    found = change.relative
    return (
        f'<span title="{escape(found.method)}: {escape(found.reason)}">'
        f"{_percent(found.low)} .. {_percent(found.high)}</span>"
    )


def _trust(view: View) -> list[str]:
    found = view.prediction
    if found.promised:
        return [note(f"{ESTIMATORS[found.estimator]}: {found.reason}.")]
    said = [note(f"Nothing is promised: {'; '.join(found.problems)}.", kind="bad")]
    return said + ([note(f"An experiment would tell: {found.experiment}.")] if found.experiment else [])


def _movement(view: View) -> str:
    first, places = 100 * view.moved.first, 100 * view.moved.places
    return note(f"{first:.1f} % of the requests get another first item; {places:.1f} % of the places another item.")


def prices(explored: Explored, *, currency: str) -> str:
    """What the search found, and what each guardrail costs."""
    found = explored.tuned
    if found.promised:
        gain = found.prediction[found.goal.maximise].relative
        chosen = ", ".join(f"{name} = {value:.4g}" for name, value in found.weights.items())
        said = note(
            f"Best {found.goal.maximise} within the guardrails: {100 * gain.value:+.2f} % "
            f"({100 * gain.low:+.2f} .. {100 * gain.high:+.2f}) with {chosen}.",
            kind="good",
        )
    else:
        said = note(f"No better weights can be promised: {'; '.join(found.problems)}.")
    rows = [_price(price, currency) for price in explored.prices]
    held = table(("guardrail", "one more point costs per 1000 requests", "95 % interval"), rows) if rows else ""
    return page(said, held)


def _price(price: ShadowPrice, currency: str) -> tuple[str, str, str]:
    unit = price.unit.split(" / ")[0].replace("currency", currency)
    cost = [1000 * price.step * x for x in (price.price.value, price.price.low, price.price.high)]
    if cost == [0.0, 0.0, 0.0]:
        return escape(str(price.constraint)), "nothing: it does not bind", ""
    return escape(str(price.constraint)), f"{cost[0]:.4g} {unit}", f"{cost[1]:.4g} .. {cost[2]:.4g}"


def money(view: View, owners: Mapping[str, tuple[str, str]]) -> str:
    """What each weight says in money, with who owns it and why."""
    rows = [
        (escape(name), f"{value:.4g}", escape(view.money.get(name, "")), *map(_long, owners[name]))
        for name, value in view.weights.items()
    ]
    return page(table(("weight", "value", "in money", "owner", "reason"), rows))


def checks(found: Checked) -> str:
    """What stands in the way, what should be read, and what is so already."""
    bad = [note(text, kind="bad") for text in (*found.errors, *found.broken)]
    rest = [note(text) for text in found.noted if text not in found.broken]
    old = [f"<details><summary>{len(found.standing)} findings are already so with the policy in force</summary>"]
    old += [note(str(finding)) for finding in found.standing] + ["</details>"]
    good = [] if bad else [note("Every check passed; nothing stands in the way.", kind="good")]
    return page(*bad, *good, *rest, *(old if found.standing else []))


def difference(text: str) -> str:
    """A unified diff, coloured."""
    if not text:
        return page(note("The draft is the policy in force."))
    colour = {"+": "#2e7d3e", "-": "#b23333", "@": "#888"}
    lines = (f'<span style="color:{colour.get(line[:1], "#333")}">{escape(line)}</span>' for line in text.splitlines())
    return page("<pre>" + "\n".join(lines) + "</pre>")


def history(entries: Sequence[Entry]) -> str:
    """Newest first."""
    if not entries:
        return page(note("No version was saved yet."))
    rows = [
        (
            f"{e.number}",
            f"<code>{e.version}</code>",
            e.kind.value,
            escape(e.owner),
            _long(e.reason),
            _long(e.at),
            _seen(e),
        )
        for e in reversed(entries)
    ]
    return page(table(("no.", "version", "how", "owner", "reason", "when", "noted"), rows))


def _long(text: str) -> str:
    return f'<span class="long">{escape(text)}</span>'


def _seen(entry: Entry) -> str:
    if not entry.noted:
        return ""
    return f'<span title="{escape(chr(10).join(entry.noted))}">{len(entry.noted)} noted</span>'
