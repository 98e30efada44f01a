"""The desk's views as HTML, for the notebook and any other face: what a template does not know is put together here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from desk.checks import CheckReport
from desk.desk import Desk, DeskView
from desk.exploration import Exploration
from desk.guardrails import GuardrailStatus
from desk.markup import figure, percent, render
from desk.policy_changes import PolicyChange
from desk.verdict import tuning_verdict
from desk.versions import VersionRecord
from value_model.tuning import BoundKind, Constraint, ShadowPrice
from value_model.tuning.influence import Influence


def messages(*texts: str, kind: str = "") -> str:
    """Lines of prose; kind "bad" or "good" colours them."""
    return render("messages", texts=texts, kind=kind)


def slates(view: DeskView, *, unit: str) -> str:
    """Requests side by side, today's order left and the draft's right; values in `unit`."""
    return render("slates", view=view, unit=unit)


def outlook(view: DeskView, *, currency: str) -> str:
    """Predicted metrics with intervals and the guardrails' lights; what is not promised stands first."""
    worst_last = sorted(view.guardrails, key=lambda row: list(GuardrailStatus).index(row.status))
    worst = {row.constraint.metric: row for row in worst_last}
    return render("outlook", view=view, currency=currency, worst=worst)


def prices(explored: Exploration, *, currency: str) -> str:
    """The best weights of a search, and what each guardrail costs; where, and on whose requests it was judged."""
    rows = [_price(price, currency) for price in explored.prices]
    return render("prices", explored=explored, verdict=_verdict(explored), prices=rows)


def loaded(explored: Exploration, point: int, *, requests: int) -> str:
    """The figures of a point of the front, which are those of the figure; the desk's table is over other requests."""
    judged, front = len(explored.tuned.judged), explored.front
    changes = (front.change(metric, point, requests=judged) for metric in front.metrics)
    figures = ", ".join(
        f"{metric} {percent(change.value)} [{100 * change.low:+.2f}, {100 * change.high:+.2f}]"
        for metric, change in zip(front.metrics, changes, strict=True)
    )
    return messages(
        f"Loaded: {figures}, judged on {judged:,} requests that the search never saw. The table of metrics is over the "
        f"desk's {requests:,} requests, some of which it saw."
    )


def _verdict(explored: Exploration) -> str:
    chosen = ", ".join(f"{name} = {value:.4g}" for name, value in explored.tuned.weights.items())
    return " ".join((*tuning_verdict(explored.tuned), *([f"With {chosen}."] if explored.tuned.promised else [])))


def _price(price: ShadowPrice, currency: str) -> tuple[str, str, str]:
    unit = price.unit.split(" / ")[0].replace("currency", currency)
    cost = [1000 * price.step * x for x in (price.price.value, price.price.low, price.price.high)]
    guardrail = _guardrail(price.constraint)
    if cost == [0.0, 0.0, 0.0]:
        return guardrail, "nothing: it does not bind", ""
    return guardrail, f"{unit} {figure(cost[0])}", f"{figure(cost[1])} .. {figure(cost[2])}"


def _guardrail(constraint: Constraint) -> str:
    bound = f"{100 * constraint.bound:g} %" if constraint.of is BoundKind.RELATIVE else f"{constraint.bound:g}"
    word = "at least" if constraint.sign > 0 else "at most"
    changes = "" if constraint.of is BoundKind.LEVEL else "change "
    return f"{constraint.metric}: {changes}{word} {bound}"


def money(view: DeskView, owners: Mapping[str, tuple[str, str]]) -> str:
    """What each weight says in money, with who owns it and why."""
    return render("money", view=view, owners=owners)


def influence(influences: Sequence[Influence], *, places: int) -> str:
    """What each weight decides: what is lost, and who goes, when it alone is switched off."""
    return render("influence", influences=influences, places=places)


def checks(report: CheckReport) -> str:
    """What stands in the way, what should be read, and what is so already."""
    return render("checks", report=report)


def served(desk: Desk, behind: Sequence[PolicyChange]) -> str:
    """What shoppers get now, the trial under way, the baseline, and what others put in force since the desk opened."""
    now, version = desk.service.served(), desk.baseline.version
    what = "In force" if desk.material.service is None else "Served now"
    lines = [f"{what}: {now.policy.name}, version {now.policy.version}."]
    if now.trial is not None:
        lines.append(f"Staged to {now.trial.share:.0%} of the shoppers: version {now.trial.policy.version}.")
    if version != now.policy.version:
        lines.append(f"Guardrails are held against version {version}, the last that was reviewed.")
    if not behind:
        return messages(" ".join(lines))
    others = "; ".join(map(str, behind))
    return messages(" ".join(lines)) + messages(f"Others have put in force since: {others}.", kind="bad")


def difference(text: str) -> str:
    """A unified diff, coloured."""
    return render("difference", lines=text.splitlines())


def history(entries: Sequence[VersionRecord]) -> str:
    """Newest first."""
    return render("history", entries=entries)
