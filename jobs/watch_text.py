"""What a watcher says on the screen: one line a calm day, a few an alert, and what cannot be judged yet."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from evaluation.monitoring.alert import Alert, JudgedDay
from evaluation.monitoring.checks import check_of
from evaluation.monitoring.day_log import DayLog
from evaluation.monitoring.distances import ClusteredTest
from evaluation.monitoring.page import cell
from jobs.tables import print_section

NAMED = 6  # figures of an alert


def print_day(day: JudgedDay) -> None:
    """One line, and the alerts."""
    requests = np.floor(np.exp(day.values["requests"]) + 1e-6)
    state = f"{day.judged} figures judged" if day.judged else "too early to judge"
    new = [alert for alert in day.alerts if alert.is_new]
    open_ = ", ".join(f"{alert.cause.name} since {alert.since:%m-%d}" for alert in day.alerts if not alert.is_new)
    goes_on = f"; goes on: {open_}" if open_ else ""
    print(f"{day.day:%Y-%m-%d}: {requests:,.0f} slates, {state}; {_count(len(new))}{goes_on}")
    for alert in new:
        print_alert(alert)


def print_alert(alert: Alert) -> None:
    """Cause, figures, slates and runbook."""
    print(f"   ALERT {alert.cause.name}: {alert.cause.meaning}")
    for one in alert.departures[:NAMED]:
        value, usual = (cell(one.figure, number) for number in (one.value, one.usual))
        print(f"      {one.figure} {value}, usual {usual} (P = {one.p_value:.1g})")
    if len(alert.departures) > NAMED:
        print(f"      and {len(alert.departures) - NAMED} more figures that this explains")
    if alert.request_ids:
        print(f"      slates: {', '.join(alert.request_ids)}")
    print(f"      runbook: {alert.cause.runbook}")


def print_early(today: DayLog, figures: Mapping[str, float]) -> None:
    """The newest day as it stands, without a verdict."""
    title = f"{today.start:%Y-%m-%d} so far: {len(today.slates):,} slates, {len(today.events):,} events"
    rows = [(name, cell(name, value), _meaning(name)) for name, value in figures.items() if np.isfinite(value)]
    odd = [f"{name} {one.share:.1%}" for name, one in today.facts.skew.items() if one.share > 0]
    replayed = "not tried" if today.facts.replayed is None else f"{today.facts.replayed:.0%}"
    caption = f"replayed to the same bits: {replayed}; features that recompute otherwise: {', '.join(odd) or 'none'}"
    print_section(("figure", "value", "meaning"), rows, title=title, caption=caption)


def print_moved(moved: Mapping[str, ClusteredTest]) -> None:
    """Columns that the day before had otherwise: to be looked at, no alarm."""
    for name, test in moved.items():
        chance = f"{test.expected:.3f} by chance, P = {test.p_value:.1g}"
        print(f"   {name} is not distributed as on the day before: PSI {test.distance:.3f} ({chance})")


def _meaning(figure: str) -> str:
    check = check_of(figure)
    return "" if check is None else check.meaning


def _count(alerts: int) -> str:
    return "no new alert" if not alerts else f"{alerts} new alert{'s' if alerts > 1 else ''}"
