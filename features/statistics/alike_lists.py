"""The earlier list most like this one: the one that shares the most items with it, of several the latest.

Of each item its latest MOST lists are compared, whoever saw them. Columns [N]: `alike_position`, where that list put
the item (1 = first, NaN = it did not hold it), and `alike_share`, the items of it that this list holds too over the
length of this list (0 = no list holds any). The order of the list that is to be ranked is never read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from features.asof import Timeline
from features.catalogue import Catalogue
from features.spec import Group, number
from features.state import Definition, Part
from features.statistics.statistic import Columns, EventLog, RequestRows, Visitor

MOST = 8  # lists of an item
BLOCK = 100_000  # rows that are compared at once
KEPT: dict[str, type] = {"time": np.int64, "sequence": np.int64, "position": np.int32}


class AlikeLists:
    """Online: the latest lists of each item by time, [items, MOST]; a position of 0 is none."""

    name = "alike_lists"
    definitions: tuple[Definition, ...] = (
        Definition(
            number(Group.CROSS, "alike_position", "position in the earlier list that shares most items with this one"),
            lambda s: s["alike_position"],
            Part.AGAINST_LIST,
        ),
        Definition(
            number(Group.CROSS, "alike_share", "items shared with that list over the length of this one"),
            lambda s: s["alike_share"],
            Part.AGAINST_LIST,
        ),
    )
    optional = True

    def __init__(self, catalogue: Catalogue) -> None:
        shape = len(catalogue), MOST
        self._kept: dict[str, np.ndarray] = {name: np.zeros(shape, kind) for name, kind in KEPT.items()}
        self._arrived = 0

    def as_of(self, log: EventLog, requests: RequestRows) -> Columns:
        shown = log.impressions
        age_rank = np.empty(len(shown.time), np.int64)
        age_rank[np.argsort(shown.time, kind="stable")] = np.arange(len(shown.time))
        of_item = Timeline(shown.item, shown.time[shown.list])
        known = of_item.before(requests.item, requests.row_time)
        lists, positions = (np.append(of_row[of_item.order], 0) for of_row in (age_rank[shown.list], shown.position))
        parts = [np.zeros((2, 0))]
        for rows in _blocks(requests):
            place = known.stop[rows, None] - MOST + np.arange(MOST)
            among = place >= known.start[rows, None]
            place = np.where(among, place, -1)
            listed, position = np.where(among, lists[place], -1), positions[place]
            parts.append(_most_alike(requests.request[rows], requests.item[rows], listed, position))
        position, share = np.concatenate(parts, axis=1)
        return {"alike_position": position, "alike_share": share}

    def update(self, log: EventLog) -> None:
        shown = log.impressions
        rows = np.flatnonzero(shown.item >= 0)
        item, owner = np.unique(shown.item[rows], return_inverse=True)
        lists = shown.list[rows]
        new = {"time": shown.time[lists], "sequence": self._arrived + lists, "position": shown.position[rows]}
        self._arrived += len(shown.time)
        columns = {name: np.concatenate([kept[item].ravel(), new[name]]) for name, kept in self._kept.items()}
        owner = np.concatenate([np.repeat(np.arange(len(item)), MOST), owner])
        order = np.lexsort((columns["sequence"], columns["time"], owner))
        order = order[columns["position"][order] > 0]
        owner = owner[order]
        column = MOST + np.arange(len(order)) - np.searchsorted(owner, owner, side="right")
        latest = column >= 0
        for name, kept in self._kept.items():
            kept[item] = 0
            kept[item[owner[latest]], column[latest]] = columns[name][order[latest]]

    def of_user(self, visitor: Visitor) -> Columns:
        return {}

    def of_rows(self, visitor: Visitor, rows: np.ndarray) -> Columns:
        kept = {name: values[rows] for name, values in self._kept.items()}
        among = (kept["position"] > 0) & (kept["time"] < visitor.time) & (rows >= 0)[:, None]
        listed = np.full(among.shape, -1)
        listed[among] = _age_rank(kept["time"][among], kept["sequence"][among])
        position, share = _most_alike(np.zeros(len(rows), np.int64), rows, listed, kept["position"])
        return {"alike_position": position, "alike_share": share}

    def saved(self) -> Mapping[str, np.ndarray]:
        item = np.flatnonzero(self._kept["position"].any(axis=1))
        columns = {name: kept[item] for name, kept in self._kept.items()}
        return columns | {"item": item, "arrived": np.array(self._arrived)}

    def restore(self, saved: Mapping[str, np.ndarray]) -> None:
        self._arrived = int(saved["arrived"])
        for name, kept in self._kept.items():
            kept[:] = 0
            kept[saved["item"]] = saved[name]


def _blocks(requests: RequestRows) -> Iterator[slice]:
    """Rows of whole requests, about BLOCK at a time."""
    start = np.searchsorted(requests.request, np.arange(len(requests.time) + 1))
    edges = start[np.searchsorted(start, np.arange(0, len(requests.item), BLOCK))]
    edges = np.unique(np.append(edges, len(requests.item))).tolist()
    return map(slice, edges[:-1], edges[1:])


def _age_rank(time: np.ndarray, sequence: np.ndarray) -> np.ndarray:
    """int64 [m]: the same of rows of one list, greater of a later one; of lists of one time the last to arrive."""
    order = np.lexsort((sequence, time))
    number = np.empty(len(order), np.int64)
    number[order] = np.cumsum(np.diff(sequence[order], prepend=-1) != 0)
    return number


def _most_alike(request: np.ndarray, item: np.ndarray, listed: np.ndarray, position: np.ndarray) -> np.ndarray:
    """float64 [2, n]: `alike_position` and `alike_share` of rows of whole requests.

    `listed` int64 [n, MOST]: the earlier lists of each row's item, oldest first, greater = later (-1 = none);
    `position` [n, MOST] in them.
    """
    if len(request) == 0:
        return np.zeros((2, 0))
    own = request - request[0]
    length, size = np.bincount(own), listed.max() + 2
    counted = listed >= 0
    counted[:, :-1] &= listed[:, :-1] != listed[:, 1:]  # a list that holds an item twice
    first = np.zeros(len(item), bool)
    first[np.unique(own * (item.max() + 2) + item + 1, return_index=True)[1]] = True
    counted &= first[:, None]
    key, shared = np.unique((own[:, None] * size + listed)[counted], return_counts=True)
    order = np.lexsort((key, shared, key // size))
    best, most = np.full(len(length), -2), np.zeros(len(length))
    best[key[order] // size], most[key[order] // size] = key[order] % size, shared[order]  # the last of each stays
    among = listed == best[own][:, None]
    column = among.shape[1] - 1 - among[:, ::-1].argmax(axis=1)
    put = position[np.arange(len(item)), column]
    return np.stack([np.where(among.any(axis=1), put, np.nan), (most / np.maximum(length, 1))[own]])
