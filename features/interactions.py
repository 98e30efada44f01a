"""Interactions: what shoppers did, as statistics, candidate sources and histories learn from it.

An interaction is a click, a cart or an order, with or without a slate; an item shown is a faint one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from features.catalogue import Catalogue
from marketplace.keys import one_array, rows_of
from marketplace.slate_columns import flat, request_of_rows, to_numpy
from marketplace.splits import microseconds

KINDS = ("click", "cart", "order")
EVENT_WEIGHTS: Mapping[str, float] = {"click": 0.2, "cart": 0.5, "order": 1.0}  # of wanting the item, in orders
POPULARITY_WEIGHTS: Mapping[str, float] = {"click": 1.0, "cart": 2.0, "order": 4.0}  # in clicks


@dataclass(frozen=True, eq=False)
class Interactions:
    """Columns over m interactions in the order recorded.

    `user`, `segment`, `session`: dictionary arrays [m], null = unknown; `item`: catalogue rows int32 [m], -1 = not in
    the catalogue; `time`: UTC microseconds int64 [m], each before `until`; `weight`: float32 [m], in the unit of the
    weights. Of events alone, else empty: `kind` int64 [m], index of the event in the weights (KINDS); `answers`
    bool [m], whether the event belongs to a slate.
    """

    user: pa.DictionaryArray
    segment: pa.DictionaryArray
    session: pa.DictionaryArray
    item: np.ndarray
    time: np.ndarray
    weight: np.ndarray
    until: int
    kind: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    answers: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))

    def __len__(self) -> int:
        return len(self.item)

    @property
    def users(self) -> np.ndarray:
        """int64 [m]: codes of the users, as their dictionary numbers them."""
        return self.user.indices.to_numpy(zero_copy_only=False).astype(np.int64)

    @property
    def sessions(self) -> np.ndarray:
        """int64 [m]: codes of the sessions, -1 where none is known."""
        return self.session.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)

    def select(self, rows: np.ndarray) -> Interactions:
        """The interactions at the positions, or under the mask, `rows`."""
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        text = {name: getattr(self, name).take(pa.array(rows)) for name in ("user", "segment", "session")}
        of_events = ("kind", "answers") if len(self.kind) else ()  # empty for impressions
        numbers = {name: getattr(self, name)[rows] for name in ("item", "time", "weight", *of_events)}
        return replace(self, **text, **numbers)


def interactions(
    feedback: pa.Table,
    *,
    item_ids: pa.Array,
    until: int,
    since: int | None = None,
    segment: pa.Array | None = None,
    weights: Mapping[str, float] = EVENT_WEIGHTS,
) -> Interactions:
    """The FEEDBACK rows of weighted events in [since, until) (UTC microseconds) about items in `item_ids`.

    `segment` [rows of feedback] groups shoppers for popularity; None = one group.
    """
    time, item = microseconds(feedback["time"]), rows_of(feedback["item_id"], item_ids)
    rows = (item >= 0) & (time < until)
    if since is not None:
        rows &= time >= since
    return _weighted(feedback, item, rows, until=until, segment=segment, weights=weights)


def interactions_of(
    feedback: pa.Table, catalogue: Catalogue, *, weights: Mapping[str, float] = POPULARITY_WEIGHTS
) -> Interactions:
    """All weighted events of FEEDBACK rows, those about items outside the catalogue too: a user's counts count them."""
    rows = np.ones(len(feedback), bool)
    until = int(microseconds(feedback["time"]).max(initial=-1)) + 1
    return _weighted(feedback, catalogue.rows(feedback["item_id"]), rows, until=until, segment=None, weights=weights)


def _weighted(
    feedback: pa.Table,
    item: np.ndarray,
    rows: np.ndarray,
    *,
    until: int,
    segment: pa.Array | None,
    weights: Mapping[str, float],
) -> Interactions:
    """The events of bool `rows` that have a weight, at catalogue rows `item`."""
    kind = rows_of(feedback["event"], pa.array(list(weights), pa.string()))
    positions = np.flatnonzero(rows & (kind >= 0))
    return Interactions(
        user=coded(feedback["user_id"], positions),
        segment=coded(one_group(len(feedback)) if segment is None else segment, positions),
        session=coded(feedback["session_id"], positions),
        item=item[positions].astype(np.int32),
        time=microseconds(feedback["time"])[positions],
        weight=np.array(list(weights.values()), np.float32)[kind[positions]],
        until=until,
        kind=kind[positions].astype(np.int64),
        answers=feedback["request_id"].is_valid().to_numpy()[positions],
    )


def impressions(
    slates: pa.Table,
    *,
    item_ids: pa.Array,
    until: int,
    since: int | None = None,
    segment: pa.Array | None = None,
    weight: float = 0.05,
    discount: float = 1.0,
) -> Interactions:
    """Items shown in slates of [since, until) as faint interactions: `weight` / position^`discount`, in orders.

    The session is the request: what was shown together goes together. `segment` [R] groups requests.
    """
    time = microseconds(slates["time"])
    period = (time < until) & (time >= (time.min(initial=0) if since is None else since))
    request = request_of_rows(slates)
    item, position = rows_of(flat(slates, "item_id"), item_ids), flat(slates, "position")
    rows = np.flatnonzero(period[request] & (item >= 0) & (to_numpy(position) > 0))
    requests = request[rows]
    return Interactions(
        user=coded(slates["user_id"], requests),
        segment=coded(one_group(len(slates)) if segment is None else segment, requests),
        session=coded(slates["request_id"], requests),
        item=item[rows].astype(np.int32),
        time=time[requests],
        weight=(weight / to_numpy(position)[rows].astype(np.float64) ** discount).astype(np.float32),
        until=until,
    )


def joined(first: Interactions, second: Interactions) -> Interactions:
    """Both, known up to the same time; whether events or impressions is no longer said."""
    if first.until != second.until:
        raise ValueError(f"interactions known until {first.until} and until {second.until} cannot be joined")
    text = {
        name: pa.concat_arrays([getattr(part, name).cast(pa.string()) for part in (first, second)]).dictionary_encode()
        for name in ("user", "segment", "session")
    }
    arrays = {
        name: np.concatenate([getattr(part, name) for part in (first, second)]) for name in ("item", "time", "weight")
    }
    return Interactions(**text, **arrays, until=first.until)


def one_group(rows: int) -> pa.DictionaryArray:
    """Everybody in the same segment."""
    return pa.DictionaryArray.from_arrays(np.zeros(rows, np.int32), pa.array([""]))


def coded(values: pa.Array | pa.ChunkedArray, rows: np.ndarray) -> pa.DictionaryArray:
    """Those rows of a string column, dictionary-encoded; the dictionary may hold more than occurs."""
    values = one_array(values)
    if not pa.types.is_dictionary(values.type):
        values = values.dictionary_encode()
    return values.take(pa.array(rows))
