"""Settled requests: so old that nearly all that will come of them has come.

The newest requests of a log have had little time: an order that is still to come is not "no order". An event's delay
is seen only where it is shorter than its request's age, so that among what is known, quick events are too frequent.
The share F(d) that has come after d follows from what could have been seen (right truncation):

    F(d) = product over delays u > d of (1 - n(u) / R(u))    n(u) events of delay u, R(u) of delay <= u <= age

A request is settled for an event once F(its age) >= SETTLED, at the latest when the event's window closes; delays
longer than the log cannot be known. Before that, F(its age) is P(recorded by now | the event comes), where delays are
alike whatever was ordered: what a ranker can count with (`training.open_windows`).
Source: Woodroofe 1985, Estimating a Distribution Function with Truncated Data.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from marketplace.attribution import EVENT_OF_LABEL, Attribution
from marketplace.keys import rows_of
from marketplace.slate_columns import request_of_rows
from marketplace.splits import DAY_US, HOUR_US, microseconds

SETTLED = 0.99  # share of an event's cases that have come
EVENTS = ("click", "cart", "order", "return")  # what heads are learned of
LATE = "return"  # takes weeks: a head waits for it alone, and what is judged without it does not


@dataclass(frozen=True)
class DelayCurve:
    """F of an event: the share `come` that has come after each of the `delays` seen (microseconds, rising)."""

    delays: np.ndarray
    come: np.ndarray

    @classmethod
    def fit(cls, delay: np.ndarray, age: np.ndarray) -> DelayCurve:
        """Of events' delays; `age` = how long each event's request could be watched."""
        delays, times = np.unique(delay, return_counts=True)
        at_risk = np.searchsorted(np.sort(delay), delays, "right") - np.searchsorted(np.sort(age), delays, "left")
        earlier = np.cumprod((1 - times / at_risk)[::-1])[::-1]
        return cls(delays, np.append(earlier[1:], 1.0))

    @property
    def wait(self) -> int:
        """The least of the delays by which SETTLED have come."""
        return int(self.delays[np.argmax(self.come >= SETTLED)])

    def __call__(self, age: np.ndarray) -> np.ndarray:
        """float64: F(age), 0 before the first delay."""
        return np.append(0.0, self.come)[np.searchsorted(self.delays, age, "right")]


def settling_times(joined: Attribution, feedback: pa.Table) -> dict[str, int]:
    """By event that was recorded: microseconds after which SETTLED of its cases have come."""
    return {name: curve.wait for name, curve in delay_curves(joined, feedback).items()}


def delay_curves(joined: Attribution, feedback: pa.Table) -> dict[str, DelayCurve]:
    """F of each event that was recorded."""
    until = last_moment(joined, feedback)
    return {
        name: DelayCurve.fit(delay, until - since) for name, (delay, since) in event_delays(joined, feedback).items()
    }


def event_delays(joined: Attribution, feedback: pa.Table) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By event that was recorded: how long after its request each case came, and the time of the request (int64)."""
    time, event = microseconds(feedback["time"]), feedback["event"].cast(pa.string())
    request = rows_of(feedback["request_id"], joined.slates["request_id"])
    since = np.append(microseconds(joined.slates["time"]), 0)[request]
    used = ((name, np.flatnonzero((joined.reason == 0) & pc.equal(event, name).to_numpy())) for name in EVENTS)
    return {name: (time[rows] - since[rows], since[rows]) for name, rows in used if len(rows)}


def come_shares(joined: Attribution, feedback: pa.Table) -> dict[str, np.ndarray]:
    """By recorded label of a head: float64 [N], F of its event at the age of the row's request."""
    age, request = last_moment(joined, feedback) - microseconds(joined.slates["time"]), request_of_rows(joined.slates)
    shares = {event: curve(age)[request] for event, curve in delay_curves(joined, feedback).items()}
    return {label: shares[event] for label, event in EVENT_OF_LABEL.items() if event in shares}


def settled_requests(joined: Attribution, feedback: pa.Table) -> dict[str, np.ndarray]:
    """By event that was recorded: bool [R], whether a request has settled for it."""
    age = last_moment(joined, feedback) - microseconds(joined.slates["time"])
    return {event: age >= wait for event, wait in settling_times(joined, feedback).items()}


def settled_for_all(joined: Attribution, settled: Mapping[str, np.ndarray]) -> np.ndarray:
    """bool [R]: settled for every event that was recorded, but for the LATE one."""
    soon = [requests for event, requests in settled.items() if event != LATE]
    return np.logical_and.reduce([np.ones(len(joined.slates), bool), *soon])


def with_settled(joined: Attribution, settled: Mapping[str, np.ndarray]) -> pa.Table:
    """The labels of a log that goes on: `mature` and `return_mature` say which rows have settled."""
    late = settled.get(LATE, np.ones(len(joined.slates), bool))
    request = request_of_rows(joined.slates)
    return with_maturity(joined.labels, settled_for_all(joined, settled)[request], late=late[request])


def settled_labels(joined: Attribution, settled: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """By recorded label of a head: bool [N], whether it is known; else it may still change."""
    request = request_of_rows(joined.slates)
    return {label: settled[event][request] for label, event in EVENT_OF_LABEL.items() if event in settled}


def with_maturity(labels: pa.Table, mature: np.ndarray, *, late: np.ndarray | None = None) -> pa.Table:
    """LABELS whose `mature` and `return_mature` say which rows (bool [N]) have settled; `late` None = as `mature`."""
    for name, rows in (("mature", mature), ("return_mature", mature if late is None else late)):
        place = labels.column_names.index(name)
        labels = labels.set_column(place, labels.schema.field(place), pa.array(rows))
    return labels


def last_moment(joined: Attribution, feedback: pa.Table) -> int:
    """The present of a log: its last slate or event, UTC microseconds."""
    return int(max(microseconds(table["time"]).max(initial=0) for table in (joined.slates, feedback)))


def settling_notes(joined: Attribution, feedback: pa.Table) -> Iterator[str]:
    """One line an event of which some requests are too young."""
    age = last_moment(joined, feedback) - microseconds(joined.slates["time"])
    for event, wait in settling_times(joined, feedback).items():
        settled = age >= wait
        if not settled.all():
            yield (
                f"open windows: {SETTLED:.0%} of the {event}s come within {_duration(wait)}; the newest "
                f"{(~settled).sum():,} of {len(settled):,} requests ({(~settled).mean():.1%}) say nothing of {event}s "
                "yet: they neither teach nor judge them"
            )


def _duration(microseconds_: int) -> str:
    if microseconds_ >= 2 * DAY_US:
        return f"{microseconds_ / DAY_US:.1f} days"
    hours = microseconds_ / HOUR_US
    return f"{hours:.1f} hours" if hours >= 1 else f"{60 * hours:.1f} minutes"
