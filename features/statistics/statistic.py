"""Statistic: a count, sum or memory of past events, in the batch form that trains and the online form that serves.

Conventions: R requests own N rows; a column is [R] or [N], float64 unless said; times int64 UTC microseconds. Known at
a request is what happened strictly before its time. `item` are int32 catalogue rows, -1 = not in the catalogue, of
which nothing is known (counts are 0).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import pyarrow as pa

from features.catalogue import Catalogue
from features.interactions import Interactions, coded, interactions_of
from features.segments import NO_SEGMENTS, UserSegments
from features.state import Definition
from features.statistics.keyed_memory import Memories
from features.statistics.point_in_time import StatisticQuery
from marketplace import slate_columns
from marketplace.splits import microseconds

Columns = dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Impressions:
    """P lists with M items shown: `user` (codes in `users`), `session` (in `sessions`, -1 = unknown), `time` of each.

    `list` int64 [M] numbers the lists, `item` int32 [M], `position` float64 [M], 1 = first.
    """

    users: pa.Array
    user: np.ndarray
    sessions: pa.Array
    session: np.ndarray
    time: np.ndarray
    list: np.ndarray
    item: np.ndarray
    position: np.ndarray

    @classmethod
    def of(cls, slates: pa.Table, catalogue: Catalogue) -> Impressions:
        """What SLATE rows showed."""
        user, session = (coded(slates[name], np.arange(len(slates))) for name in ("user_id", "session_id"))
        shown = slate_columns.shown(slates)
        return cls(
            users=user.dictionary,
            user=user.indices.to_numpy(zero_copy_only=False).astype(np.int64),
            sessions=session.dictionary,
            session=session.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64),
            time=microseconds(slates["time"]),
            list=slate_columns.request_of_rows(slates)[shown],
            item=catalogue.rows(slate_columns.flat(slates, "item_id").filter(pa.array(shown))),
            position=slate_columns.to_numpy(slate_columns.flat(slates, "position"))[shown].astype(np.float64),
        )


_NAMES, _CODES, _ROWS = pa.array([], pa.string()), np.zeros(0, np.int64), np.zeros(0, np.int32)
NO_IMPRESSIONS = Impressions(_NAMES, _CODES, _NAMES, _CODES, _CODES, _CODES, _ROWS, np.zeros(0))
NO_INTERACTIONS = Interactions(
    *(3 * (_NAMES.dictionary_encode(),)), item=_ROWS, time=_CODES, weight=np.zeros(0, np.float32), until=0
)


@dataclass(frozen=True, eq=False)
class EventLog:
    """What happened: interactions (clicks, carts, orders) and impressions, and the shoppers' segments."""

    interactions: Interactions
    impressions: Impressions
    segments: UserSegments = NO_SEGMENTS

    @classmethod
    def of(
        cls,
        catalogue: Catalogue,
        *,
        feedback: pa.Table | None = None,
        slates: pa.Table | None = None,
        segments: UserSegments = NO_SEGMENTS,
    ) -> EventLog:
        """The events of FEEDBACK and SLATE rows; None = none."""
        return cls(
            NO_INTERACTIONS if feedback is None else interactions_of(feedback, catalogue),
            NO_IMPRESSIONS if slates is None else Impressions.of(slates, catalogue),
            segments,
        )


@dataclass(frozen=True, eq=False)
class RequestRows:
    """R past requests over N rows: `request` int64 and `item` int32 [N].

    `time` int64, `user_id` and `session_id` string, `segment` int64 (`UserSegments`), `page_item` int32 [R]: the row of
    the page's item, -1 = none.
    """

    time: np.ndarray
    user_id: pa.Array
    session_id: pa.Array
    page_item: np.ndarray
    segment: np.ndarray
    request: np.ndarray
    item: np.ndarray

    @cached_property
    def row_time(self) -> np.ndarray:
        return self.time[self.request]

    def known(self, values: np.ndarray) -> np.ndarray:
        """float64 [N]: `values` of rows, 0 where the item is not in the catalogue."""
        return np.where(self.item >= 0, values, 0).astype(np.float64)


@dataclass(frozen=True)
class Visitor:
    """The sender of one request: user, visit (None = unknown), time in UTC microseconds, the page's item (row), and the
    user's segment (`UserSegments`)."""

    user_id: str
    session_id: str | None
    time: int
    page_item: int = -1
    segment: int = 0


class Statistic(Protocol):
    """One statistic over a catalogue: its columns as of past requests, and its memory of a stream of events.

    Law: columns of `as_of` equal those of `of_user` and `of_rows` after the earlier events came in by `update`, in any
    order of rows whose times differ; every row counts, so that duplicate deliveries must be dropped before.
    """

    name: str  # of its part of a saved store
    definitions: tuple[Definition, ...]  # the features that read it
    optional: bool  # computed only where the spec has one of these features
    without_sql: str  # why, and where, no SQL computes it; "" = in every engine

    def __init__(self, catalogue: Catalogue) -> None: ...

    def as_of(self, log: EventLog, requests: RequestRows) -> Columns:
        """Batch form: the columns of all requests and rows."""
        ...

    @classmethod
    def point_in_time(cls) -> tuple[StatisticQuery, ...]:
        """The batch form in SQL: queries whose columns together are those of `as_of`; none where none can say it."""
        ...

    def update(self, log: EventLog) -> None:
        """Online form: remember events."""
        ...

    def of_user(self, visitor: Visitor) -> Columns:
        """Online form: the [R] columns of one request."""
        ...

    def of_rows(self, visitor: Visitor, rows: np.ndarray) -> Columns:
        """Online form: the [N] columns of one request's candidates (int32 catalogue rows)."""
        ...

    @property
    def memories(self) -> Memories:
        """What is remembered, by name and key, until something else is restored."""
        ...

    def saved(self) -> Mapping[str, np.ndarray]:
        """All that is remembered, as arrays that `np.savez` takes."""
        ...

    def restore(self, saved: Mapping[str, np.ndarray]) -> None:
        """Remember what was saved, and nothing else."""
        ...


def pair(first: np.ndarray, second: np.ndarray, *, size: int) -> np.ndarray:
    """int64 code of (first, second of `size`); -1 where either is unknown."""
    return np.where((first >= 0) & (second >= 0), first * np.int64(size) + second, -1)


def lengthened(saved: np.ndarray, rows: int) -> np.ndarray:
    """A column by item, with zeros behind it for items that began after it was saved."""
    return np.append(saved, np.zeros(max(rows - len(saved), 0), saved.dtype))
