"""What shoppers did, as the candidate sources learn from it: columns over m interactions with known items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# How much an event says about wanting the item, in orders.
EVENT_WEIGHTS: Mapping[str, float] = {"click": 0.2, "cart": 0.5, "order": 1.0}
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
