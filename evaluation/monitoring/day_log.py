"""A day of the log, joined: what every figure of the day is computed from, columnar.

R requests of the day hold N items. The day's events are those that happened in it; what became of its slates also needs
events that came later, up to the moment of looking.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from marketplace.attribution import REASONS, Attribution, attribute
from marketplace.keys import one_array, rows_of
from marketplace.settled import settled_labels, settled_requests
from marketplace.slate_columns import flat, request_of_rows, to_numpy
from marketplace.splits import microseconds

DAY = timedelta(days=1)


@dataclass(frozen=True)
class FeatureDifference:
    """Recomputation of one feature against what was served: shares of its values, and the mean |difference|."""

    share: float  # mismatched, missing or extra
    mismatched: float
    missing: float
    extra: float
    size: float


@dataclass(frozen=True)
class DayFacts:
    """What a watcher knows of a day beside its slates and feedback.

    `skew` by feature, of the `recomputed` requests (ids); `replayed`: share of these that gave the same bits (None =
    not tried); `updates`: catalogue fields that were recorded (None = no feed); `newcomers`: ids of items that are new;
    `quarantined`: events set apart, by reason.
    """

    skew: Mapping[str, FeatureDifference] = field(default_factory=dict)
    recomputed: tuple[str, ...] = ()
    replayed: float | None = None
    updates: int | None = None
    newcomers: pa.Array | None = None
    quarantined: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class DayLog:
    """One day from `start` (aware, included) on.

    `slates`, `joined` and `settled` (event -> bool [R]) are of the day's requests; `events` (FEEDBACK) happened in it,
    and `reason` [E] says what became of each.
    """

    start: datetime
    slates: pa.Table
    events: pa.Table
    reason: np.ndarray
    joined: Attribution
    settled: Mapping[str, np.ndarray]
    facts: DayFacts

    @cached_property
    def request(self) -> np.ndarray:
        """int64 [N]: whose item it is."""
        return request_of_rows(self.slates)

    @cached_property
    def place(self) -> np.ndarray:
        """int64 [N]: place in the list, 1 = first, 0 = not shown."""
        return to_numpy(flat(self.slates, "position")).astype(np.int64)

    @cached_property
    def shown(self) -> np.ndarray:
        """bool [N]."""
        return self.place > 0

    @cached_property
    def surface(self) -> np.ndarray:
        """str [R]."""
        return to_numpy(self.slates["surface"])

    @cached_property
    def labels(self) -> dict[str, np.ndarray]:
        """Label -> float64 [N]; NaN where the request has not settled for it, or the item was not shown."""
        known = settled_labels(self.joined, self.settled)
        return {
            name: np.where(rows & self.shown, to_numpy(self.joined.labels[name]).astype(np.float64), np.nan)
            for name, rows in known.items()
        }

    def codes(self, column: str) -> tuple[np.ndarray, list[str]]:
        """A column over items as int64 [N] codes, and the names they stand for."""
        coded = flat(self.slates, column)
        coded = coded if pa.types.is_dictionary(coded.type) else coded.dictionary_encode()
        present = pc.unique(coded.indices)
        code = np.full(len(coded.dictionary), -1, np.int64)
        code[to_numpy(present)] = np.arange(len(present))
        return code[to_numpy(coded.indices)], coded.dictionary.take(present).to_pylist()

    def rows(self, request_ids: Sequence[str]) -> np.ndarray:
        """int64: the rows of some requests."""
        return rows_of(pa.array(request_ids, pa.string()), self.slates["request_id"])

    def ids(self, requests: np.ndarray, *, most: int = 5) -> tuple[str, ...]:
        """Request ids of some rows of the slates, the first `most` distinct ones."""
        rows = np.unique(requests[requests >= 0], return_index=True)[1]
        chosen = requests[requests >= 0][np.sort(rows)[:most]]
        return tuple(self.slates["request_id"].take(pa.array(chosen)).to_pylist())


NOTHING = DayFacts()


def day_log(
    slates: pa.Table, feedback: pa.Table, start: datetime, *, now: datetime, known: pa.Array, facts: DayFacts = NOTHING
) -> DayLog:
    """The day from `start` on, as known at `now`, out of tables in order of time that hold it and what came after it.

    `known`: ids of other days' requests, which the day's events may answer too.
    """
    day = between(slates, start, start + DAY)
    events = between(feedback, start, start + DAY)
    answers = feedback.filter(pc.is_in(feedback["request_id"], value_set=one_array(day["request_id"])))
    answers = between(answers, start - DAY, now)
    joined = attribute(day, answers, as_of=now)
    return DayLog(
        start=start,
        slates=joined.slates,
        events=events,
        reason=_reasons(events, joined, answers, known),
        joined=joined,
        settled=settled_requests(joined, answers),
        facts=facts,
    )


def unanswered(slates: pa.Table, feedback: pa.Table, start: datetime) -> list[str]:
    """Ids of requests that the day's events name and its slates do not hold: of another day, or of none."""
    names = between(feedback, start, start + DAY)["request_id"].drop_null()
    mine = between(slates, start, start + DAY)["request_id"]
    return pc.unique(names.filter(pc.invert(pc.is_in(names, value_set=one_array(mine))))).to_pylist()


def _reasons(events: pa.Table, joined: Attribution, answers: pa.Table, known: pa.Array) -> np.ndarray:
    """int64 [events] as REASONS numbers them; an event of another day's slate is counted there."""
    at = pc.index_in(events["feedback_id"], value_set=one_array(answers["feedback_id"]))
    rows = to_numpy(at.fill_null(-1)).astype(np.int64)
    orphan = (rows < 0) & to_numpy(pc.is_valid(events["request_id"]))
    orphan &= ~to_numpy(pc.is_in(events["request_id"], value_set=known))
    elsewhere = np.where(orphan, REASONS.index("orphan_request"), 0)
    return np.where(rows >= 0, np.append(joined.reason, 0)[rows], elsewhere)


def between(table: pa.Table, since: datetime, until: datetime) -> pa.Table:
    """Rows of a table in order of time with since <= time < until."""
    time = microseconds(table["time"])
    low, high = np.searchsorted(time, [_micro(since), _micro(until)])
    return table.slice(int(low), int(high - low))


def _micro(time: datetime) -> int:
    return pa.scalar(time, pa.timestamp("us", tz="UTC")).value
