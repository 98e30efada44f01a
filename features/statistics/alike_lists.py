"""Earlier lists like this one: where they put its items.

Of each item its latest MOST lists are compared, whoever saw them. Columns [N], of the list most like this one, which
shares the most items with it, of several the latest: `alike_position`, where it put the item (1 = first, NaN = it did
not hold it), and `alike_share`, the items of it that this list holds too over the length of this list (0 = no list
holds any). Of all of them, each weighed by the square of its share: `alike_weight` the sum of the weights of those with
the item, `alike_discount` the mean of 1 / log2(1 + position), and `alike_above` the mean share of the items in both
lists that stood above it, of lists that share at least two (NaN = no such list). The order of the list that is to be
ranked is never read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from features.asof import Timeline
from features.catalogue import Catalogue
from features.spec import Group, number
from features.state import Definition, Part
from features.statistics.keyed_memory import ItemRows, Memories, market_rows
from features.statistics.point_in_time import StatisticQuery
from features.statistics.statistic import Columns, EventLog, RequestRows, Visitor

MOST = 8  # lists of an item
BLOCK = 100_000  # rows that are compared at once
COLUMNS = ("alike_position", "alike_share", "alike_weight", "alike_discount", "alike_above")
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
        Definition(
            number(Group.CROSS, "alike_weight", "earlier lists with the item, by how alike they are"),
            lambda s: s["alike_weight"],
            Part.AGAINST_LIST,
        ),
        Definition(
            number(Group.CROSS, "alike_discount", "1 / log2(1 + position) in them, mean by how alike they are"),
            lambda s: s["alike_discount"],
            Part.AGAINST_LIST,
        ),
        Definition(
            number(Group.CROSS, "alike_rank", "share of the list whose alike_discount is smaller"),
            lambda s: s.rank(s["alike_discount"]),
            Part.AGAINST_LIST,
        ),
        Definition(
            number(Group.CROSS, "alike_above", "share of the items in both lists above it, mean by how alike they are"),
            lambda s: s["alike_above"],
            Part.AGAINST_LIST,
        ),
    )
    optional = True
    without_sql = "lists are compared with each other by all that they share"

    def __init__(self, catalogue: Catalogue) -> None:
        shape = len(catalogue), MOST
        self._kept: dict[str, np.ndarray] = {name: np.zeros(shape, kind) for name, kind in KEPT.items()}
        self._arrived = np.zeros(1, np.int64)

    @classmethod
    def point_in_time(cls) -> tuple[StatisticQuery, ...]:
        return ()

    def as_of(self, log: EventLog, requests: RequestRows) -> Columns:
        shown = log.impressions
        age_rank = np.empty(len(shown.time), np.int64)
        age_rank[np.argsort(shown.time, kind="stable")] = np.arange(len(shown.time))
        of_item = Timeline(shown.item, shown.time[shown.list])
        known = of_item.before(requests.item, requests.row_time)
        lists, positions = (np.append(of_row[of_item.order], 0) for of_row in (age_rank[shown.list], shown.position))
        parts = [np.zeros((len(COLUMNS), 0))]
        for rows in _blocks(requests):
            place = known.stop[rows, None] - MOST + np.arange(MOST)
            among = place >= known.start[rows, None]
            place = np.where(among, place, -1)
            listed, position = np.where(among, lists[place], -1), positions[place]
            parts.append(_compared(requests.request[rows], requests.item[rows], listed, position))
        return dict(zip(COLUMNS, np.concatenate(parts, axis=1), strict=True))

    def update(self, log: EventLog) -> None:
        shown = log.impressions
        rows = np.flatnonzero(shown.item >= 0)
        item, owner = np.unique(shown.item[rows], return_inverse=True)
        lists = shown.list[rows]
        new = {"time": shown.time[lists], "sequence": self._arrived[0] + lists, "position": shown.position[rows]}
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
        columns = _compared(np.zeros(len(rows), np.int64), rows, listed, kept["position"])
        return dict(zip(COLUMNS, columns, strict=True))

    @property
    def memories(self) -> Memories:
        return {"items": ItemRows(self._kept), "market": market_rows({"arrived": self._arrived})}

    def saved(self) -> Mapping[str, np.ndarray]:
        item = np.flatnonzero(self._kept["position"].any(axis=1))
        columns = {name: kept[item] for name, kept in self._kept.items()}
        return columns | {"item": item, "arrived": self._arrived[0]}

    def restore(self, saved: Mapping[str, np.ndarray]) -> None:
        self._arrived = np.atleast_1d(saved["arrived"]).astype(np.int64)
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


def _compared(request: np.ndarray, item: np.ndarray, listed: np.ndarray, position: np.ndarray) -> np.ndarray:
    """float64 [COLUMNS, n], of rows of whole requests.

    `listed` int64 [n, MOST]: the earlier lists of each row's item, oldest first, greater = later (-1 = none);
    `position` [n, MOST] in them.
    """
    if len(request) == 0:
        return np.zeros((len(COLUMNS), 0))
    this = request - request[0]
    length, size = np.bincount(this), listed.max() + 2
    held = listed >= 0
    held[:, :-1] &= listed[:, :-1] != listed[:, 1:]  # a list that holds an item twice
    first = np.zeros(len(item), bool)
    first[np.unique(this * (item.max() + 2) + item + 1, return_index=True)[1]] = True
    codes = this[:, None] * size + listed  # of this list and an earlier one
    key, shared = np.unique(codes[held & first[:, None]], return_counts=True)
    alike = _most_alike(this, listed, position, key=key, shared=shared, length=length, size=size)
    row, cell = np.nonzero(held)
    both, place = np.searchsorted(key, codes[row, cell]), position[row, cell].astype(np.int64)
    weight = (shared[both] / length[this[row]]) ** 2
    rank = _share_above(both, place, first[row], shared)
    several = np.where(shared[both] > 1, weight, 0.0)
    means = (_mean(row, values, of, len(item)) for values, of in ((1 / np.log2(1 + place), weight), (rank, several)))
    return np.stack([*alike, np.bincount(row, weight, len(item)), *means])


def _most_alike(
    this: np.ndarray,
    listed: np.ndarray,
    position: np.ndarray,
    *,
    key: np.ndarray,
    shared: np.ndarray,
    length: np.ndarray,
    size: int,
) -> tuple[np.ndarray, np.ndarray]:
    """`alike_position` and `alike_share`, [n] each; `shared` items of each pair of lists, with sorted codes `key`."""
    order = np.lexsort((key, shared, key // size))
    best, most = np.full(len(length), -2), np.zeros(len(length))
    best[key[order] // size], most[key[order] // size] = key[order] % size, shared[order]  # the last of each stays
    among = listed == best[this][:, None]
    column = among.shape[1] - 1 - among[:, ::-1].argmax(axis=1)
    put = position[np.arange(len(this)), column]
    return np.where(among.any(axis=1), put, np.nan), (most / np.maximum(length, 1))[this]


def _share_above(both: np.ndarray, place: np.ndarray, counted: np.ndarray, shared: np.ndarray) -> np.ndarray:
    """float64 [m]: of the `shared` items of the pair of lists `both`, the share whose place is smaller."""
    code = both * (place.max(initial=0) + 1) + place
    below = np.searchsorted(np.sort(code[counted]), code)
    return (below - (np.cumsum(shared) - shared)[both]) / shared[both]


def _mean(row: np.ndarray, values: np.ndarray, weight: np.ndarray, rows: int) -> np.ndarray:
    """float64 [rows]: the weighted mean of each row's values, NaN where nothing weighs."""
    total = np.bincount(row, weight, rows)
    return np.where(total > 0, np.bincount(row, weight * values, rows) / np.where(total > 0, total, 1), np.nan)
