"""Sums of a log in ClickHouse: day by day, hour by hour, or by an experiment's variants, however long the log."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from jobs.tables import print_section
from marketplace.clickhouse.clickhouse_log import ClickhouseLog
from marketplace.clickhouse.sums import OUTCOMES, period_sums, variant_sums
from marketplace.estimate import Estimate
from marketplace.log_place import Place, shown_place
from marketplace.open_log import open_log
from marketplace.schema import LABELLED_EVENTS

HALF = 1.959964  # of an interval at 95 %, in standard errors


def report_sums(place: Place, *, by: str, experiment: str | None = None) -> None:
    """Print the sums `by` hour or day, or those of an experiment's variants."""
    log = open_log(place)
    try:
        if not isinstance(log, ClickhouseLog):
            raise ValueError(f"{shown_place(place)} is not kept in ClickHouse: load it first (`value-model load-log`).")
        if experiment is None:
            _print_periods(log, by=by, title=shown_place(place))
        else:
            _print_variants(log, experiment)
    finally:
        log.close()


def _print_periods(log: ClickhouseLog, *, by: str, title: str) -> None:
    slates, events = period_sums(log, by=by)
    happened: dict[Any, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    paid: dict[Any, list[str]] = defaultdict(list)
    for row in events.to_pylist():
        happened[row["start"]][row["event"]] += row["events"]
        if row["event"] == "order" and row["amount"] is not None:
            paid[row["start"]].append(f"{row['amount']:,.2f} {row['currency'] or ''}".rstrip())
    made = {row["start"]: row for row in slates.to_pylist()}
    nothing = {"requests": 0, "items": 0, "shown": 0}
    rows = [
        (
            f"{start:%Y-%m-%d %H:%M}",
            *(f"{made.get(start, nothing)[name]:,}" for name in nothing),
            *(f"{happened[start][event]:,}" for event in LABELLED_EVENTS),
            ", ".join(paid[start]),
        )
        for start in sorted({*made, *happened})
    ]
    head = (by, "requests", "items", "shown", *(f"{event}s" for event in LABELLED_EVENTS), "ordered for")
    print_section(head, rows, title=title, caption="events by their own time, orders before returns")


def _print_variants(log: ClickhouseLog, experiment: str) -> None:
    variants = variant_sums(log, experiment).to_pylist()
    if not variants:
        raise ValueError(f"{log.connection.place} holds no slate of the experiment {experiment!r}.")
    rows = [
        (row["variant"], f"{row['users']:,}", f"{row['requests']:,}", *(str(_mean(row, name)) for name in OUTCOMES))
        for row in variants
    ]
    head = ("variant", "users", "requests", *(f"{name} a user" for name in OUTCOMES))
    caption = "means a user at 95 %; `value-model experiment read` judges them"
    print_section(head, rows, title=experiment, caption=caption)


def _mean(row: Mapping[str, Any], name: str) -> Estimate:
    reach = HALF * row[f"{name}_error"]
    return Estimate(row[name], row[name] - reach, row[name] + reach, row["users"])
