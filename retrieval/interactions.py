"""What shoppers did, as the candidate sources learn from it: columns over m interactions with known items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from marketplace.slate_columns import flat, request_of_rows, to_numpy
from marketplace.splits import microseconds

# How much an event says about wanting the item, in orders.
EVENT_WEIGHTS: Mapping[str, float] = {"click": 0.2, "cart": 0.5, "order": 1.0}
NUMBERS = ("item", "time", "weight")
DAY = 86_400_000_000  # microseconds


@dataclass(frozen=True)
class Interactions:
    """`user`, `segment`, `session`: dictionary arrays [m], null = unknown; `item`: catalogue rows int32 [m];

    `time`: UTC microseconds int64 [m], each before `until`; `weight`: float32 [m], in orders.
    """

    user: pa.DictionaryArray
    segment: pa.DictionaryArray
    session: pa.DictionaryArray
    item: np.ndarray
    time: np.ndarray
    weight: np.ndarray
    until: int


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
    time = feedback["time"].cast(pa.int64()).to_numpy()
    item = _position(feedback["item_id"], item_ids)
    names = pa.array(list(weights), pa.string())
    event = _position(feedback["event"], names)
    known = (time < until) & (item >= 0) & (event >= 0)
    if since is not None:
        known &= time >= since
    rows = np.flatnonzero(known)
    if segment is None:
        segment = pa.DictionaryArray.from_arrays(np.zeros(len(feedback), np.int32), pa.array([""]))
    return Interactions(
        user=coded(feedback["user_id"], rows),
        segment=coded(segment, rows),
        session=coded(feedback["session_id"], rows),
        item=item[rows].astype(np.int32),
        time=time[rows],
        weight=np.array(list(weights.values()), np.float32)[event[rows]],
        until=until,
    )


def coded(values: pa.Array | pa.ChunkedArray, rows: np.ndarray) -> pa.DictionaryArray:
    """Those rows of a string column, dictionary-encoded; the dictionary may hold more than occurs."""
    if isinstance(values, pa.ChunkedArray):
        values = values.unify_dictionaries() if pa.types.is_dictionary(values.type) else values
        values = values.combine_chunks()
    if not pa.types.is_dictionary(values.type):
        values = values.dictionary_encode()
    return values.take(pa.array(rows))


def _position(values: pa.ChunkedArray, among: pa.Array) -> np.ndarray:
    """Row in `among` of each value, -1 where absent."""
    values = coded(values, np.arange(len(values)))
    among = among.combine_chunks() if isinstance(among, pa.ChunkedArray) else among
    place = pc.index_in(values.dictionary, among.cast(pa.string())).fill_null(-1).to_numpy()
    codes = values.indices.fill_null(-1).to_numpy()
    return np.where(codes >= 0, np.append(place, -1)[codes], -1)


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
    asked = (time < until) & (time >= (time.min(initial=0) if since is None else since))
    request = request_of_rows(slates)
    item, position = _position(pa.chunked_array([flat(slates, "item_id")]), item_ids), flat(slates, "position")
    rows = np.flatnonzero(asked[request] & (item >= 0) & (to_numpy(position) > 0))
    requests = request[rows]
    if segment is None:
        segment = pa.DictionaryArray.from_arrays(np.zeros(len(slates), np.int32), pa.array([""]))
    return Interactions(
        user=coded(slates["user_id"], requests),
        segment=coded(segment, requests),
        session=coded(slates["request_id"], requests),
        item=item[rows].astype(np.int32),
        time=time[requests],
        weight=(weight / to_numpy(position)[rows].astype(np.float64) ** discount).astype(np.float32),
        until=until,
    )


def joined(first: Interactions, second: Interactions) -> Interactions:
    """Both, known up to the same time."""
    if first.until != second.until:
        raise ValueError(f"interactions known until {first.until} and until {second.until} cannot be joined")
    text = {
        name: pa.concat_arrays([getattr(part, name).cast(pa.string()) for part in (first, second)]).dictionary_encode()
        for name in ("user", "segment", "session")
    }
    arrays = {name: np.concatenate([getattr(part, name) for part in (first, second)]) for name in NUMBERS}
    return Interactions(**text, **arrays, until=first.until)
