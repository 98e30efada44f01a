"""The desk's views as HTML: plain functions of what the desk answers; every text is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from math import isfinite

from desk.checks import CheckReport
from desk.desk import DeskView
from desk.exploration import Exploration
from desk.guardrails import GuardrailResult, GuardrailStatus
from desk.markup import figure, note, page, table
from desk.side_by_side import PlacedItem, SideBySide
from desk.versions import VersionRecord
from value_model.tuning import Change, Constraint, Estimator, Of, ShadowPrice
from value_model.tuning.influence import Influence

COLOURS = ("#3b6fb6", "#e08a1e", "#3f9b57", "#a154a8", "#c94f4f", "#2f9fa3", "#8a6d3b", "#7a7a7a")
LIGHTS = {GuardrailStatus.GREEN: "#2e9e4f", GuardrailStatus.AMBER: "#e0a100", GuardrailStatus.RED: "#cf3b3b"}
ESTIMATORS = {
    Estimator.DR: "Doubly robust",
    Estimator.IPS: "By inverse propensities",
    Estimator.DIRECT: "By the heads alone",
}
BAR = 130  # pixels of the longest bar
COLUMNS = '<col width="26"><col width="34"><col><col width="145"><col width="62">'


def slates(view: DeskView, *, unit: str) -> str:
    """Requests side by side, today's order left and the draft's right; values in `unit`."""
    if not view.slates:
        return page(note("No request of this tab shows more than one item."))
    return page(_legend(view.slates[0].labels), *(_pair(slate, unit) for slate in view.slates))


def _legend(labels: Sequence[str]) -> str:
    keys = (
        f'<span class="key"><span class="bar" style="width:11px;background:{_colour(i)}"></span> {escape(label)}</span>'
        for i, label in enumerate(labels)
    )
    return f"<div>{''.join(keys)}<span class='key'>hatched = takes value away</span></div>"


def _pair(slate: SideBySide, unit: str) -> str:
    longest = max((sum(map(abs, item.terms)) for item in (*slate.before, *slate.after)), default=0.0) or 1.0
    count = f"{slate.moved} of {len(slate.after)} places changed" if slate.moved else "nothing moved"
    sides = (("in force", slate.before, False), ("draft", slate.after, True))
    lists = (
        f"<div><table>{COLUMNS}{_title(title, unit)}{''.join(_row(item, longest, new) for item in items)}</table></div>"
        for title, items, new in sides
    )
    return f"<b>{escape(slate.title)}</b> <small>{count}</small><div class='pair'>{''.join(lists)}</div>"


def _title(text: str, unit: str) -> str:
    return f"<tr><th colspan=3>{text}</th><th colspan=2 class='number'>value, {escape(unit)}</th></tr>"


def _row(item: PlacedItem, longest: float, after: bool) -> str:
    moved = ' class="moved"' if after and item.climbed else ""
    return (
        f'<tr{moved}><td class="number">{item.place}</td><td>{_mark(item) if after else ""}</td>'
        f'<td class="name" title="{escape(item.item)} · {escape(item.merchant)}">{escape(item.item)}</td>'
        f'<td>{_bars(item.terms, longest)}</td><td class="number">{figure(item.value)}</td></tr>'
    )


def _mark(item: PlacedItem) -> str:
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


def outlook(view: DeskView, *, currency: str) -> str:
    """Predicted metrics with intervals and the guardrails' lights; what is not promised is said first."""
    worst_last = sorted(view.guarded, key=lambda row: list(GuardrailStatus).index(row.light))
    held = {row.constraint.metric: row for row in worst_last}
    rows = [
        (
            _light(held.get(name)),
            escape(name),
            figure(change.now.value),
            figure(change.proposed.value),
            _percent(change.relative.value),
            _interval(change),
            escape("share" if change.metric.unit == "1" else change.metric.unit.replace("currency", currency)),
        )
        for name, change in view.prediction.changes.items()
    ]
    head = ("", "metric", "in force", "draft", "change", "95 % interval of the change", "unit")
    return page(*_trust(view), table(head, rows, numbers=range(2, 6)), _movement(view))


def _light(guarded: GuardrailResult | None) -> str:
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


def _trust(view: DeskView) -> list[str]:
    found = view.prediction
    if found.promised:
        return [note(f"{ESTIMATORS[found.estimator]}: {found.reason}.")]
    said = [note(f"Nothing is promised: {'; '.join(found.problems)}.", kind="bad")]
    tells = found.experiment is not None and view.moved.places > 0
    return said + ([note(f"An experiment would tell: {found.experiment}.")] if tells else [])


def _movement(view: DeskView) -> str:
    first, places = 100 * view.moved.first, 100 * view.moved.places
    where = f"Over {view.requests:,} requests ({view.scope.title})"
    return note(f"{where}: {first:.1f} % get another first item; {places:.1f} % of the places another item.")


def prices(explored: Exploration, *, currency: str) -> str:
    """What the search found, and what each guardrail costs; where, and on whose requests it was judged."""
    found = explored.tuned
    where = note(
        f"Searched: {explored.scope.title}. Weights, guardrails and prices are judged on its {explored.requests:,} "
        "requests alone, against the draft before the search; other tabs' own weights stay as the draft has them."
    )
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
    held = table(("guardrail", "one more point of it costs", "95 % interval"), rows, numbers=(1, 2)) if rows else ""
    return page(where, said, held, "<small>Costs are per 1,000 requests.</small>" if rows else "")


def _price(price: ShadowPrice, currency: str) -> tuple[str, str, str]:
    unit = price.unit.split(" / ")[0].replace("currency", currency)
    cost = [1000 * price.step * x for x in (price.price.value, price.price.low, price.price.high)]
    held = escape(_held(price.constraint))
    if cost == [0.0, 0.0, 0.0]:
        return held, "nothing: it does not bind", ""
    return held, f"{escape(unit)} {figure(cost[0])}", f"{figure(cost[1])} .. {figure(cost[2])}"


def _held(constraint: Constraint) -> str:
    bound = f"{100 * constraint.bound:g} %" if constraint.of is Of.RELATIVE else f"{constraint.bound:g}"
    word = "at least" if constraint.sign > 0 else "at most"
    changes = "" if constraint.of is Of.LEVEL else "change "
    return f"{constraint.metric}: {changes}{word} {bound}"


def money(view: DeskView, owners: Mapping[str, tuple[str, str]]) -> str:
    """What each weight says in money, with who owns it and why."""
    rows = [
        (escape(name), figure(value), escape(view.money.get(name, "")), *map(_long, owners[name]))
        for name, value in view.weights.items()
    ]
    return page(table(("weight", "value", "in money", "owner", "reason"), rows, numbers=(1,)))


def influence(found: Sequence[Influence], *, places: int) -> str:
    """What each weight decides: what is lost, and who goes, when it alone is switched off."""
    rows = [
        (
            escape(one.label),
            f"{100 * one.ndcg_gap.value:z.2f} %",
            f"{100 * one.ndcg_gap.low:z.2f} .. {100 * one.ndcg_gap.high:z.2f} %",
            f"{one.displaced.value:z.2f}",
            f"{one.displaced.low:z.2f} .. {one.displaced.high:z.2f}",
            f"{100 * one.share:.1f} %",
        )
        for one in found
    ]
    lost, gone = "NDCG lost without it", f"items of the first {places} that go"
    head = ("weight", lost, "95 % interval", gone, "95 % interval", "share of the spread of values")
    return page(table(head, rows, numbers=range(1, 6)))


def checks(found: CheckReport) -> str:
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


def history(entries: Sequence[VersionRecord]) -> str:
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
            escape(e.at.replace("T", " ").replace("+00:00", " UTC")),
            _seen(e),
        )
        for e in reversed(entries)
    ]
    return page(table(("no.", "version", "how", "owner", "reason", "when", "noted"), rows, numbers=(0,)))


def _long(text: str) -> str:
    return f'<span class="long">{escape(text)}</span>'


def _seen(entry: VersionRecord) -> str:
    if not entry.noted:
        return ""
    return f'<span title="{escape(chr(10).join(entry.noted))}">{len(entry.noted)} noted</span>'
