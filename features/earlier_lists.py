"""Where earlier lists put an item: what is known of a ranking before it is shown.

Conventions: P past lists own M rows, R asked lists own N rows; a row has an item (int64 catalogue row, -1 = unknown),
past rows a position (1-based) and a price. Only lists strictly earlier than the asked one count. NaN = never listed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from features.asof import Timeline
from features.touches import pair
from marketplace.splits import HOUR_US


@dataclass(frozen=True, eq=False)
class Lists:
    """Lists as flat rows: `time` and `context` (int64 code of query, filters and order) [lists]; the rest [rows]."""

    offsets: np.ndarray
    time: np.ndarray
    context: np.ndarray
    item: np.ndarray
    position: np.ndarray
    price: np.ndarray

    @property
    def of_row(self) -> np.ndarray:
        return np.repeat(np.arange(len(self.time)), np.diff(self.offsets))

    def matrix(self, values: np.ndarray, *, items: int) -> sp.csr_matrix:
        """[lists, items] with `values` of the rows; unknown items are left out."""
        known = self.item >= 0
        return sp.csr_matrix((values[known], (self.of_row[known], self.item[known])), shape=(len(self.time), items))


def past_positions(asked: Lists, past: Lists) -> dict[str, np.ndarray]:
    """float64 [N] each: mean of 1 / position, latest position and hours since, log of price over its past mean."""
    line = Timeline(past.item, past.time[past.of_row])
    now = asked.time[asked.of_row]
    known = line.before(asked.item, now)
    listed = (known.count > 0) & (asked.item >= 0)
    count = np.maximum(known.count, 1)
    latest = np.maximum(known.stop - 1, 0)
    values = {
        "past_inverse_position": line.sums(known, 1 / past.position) / count,
        "past_latest_position": _at(past.position[line.order], latest),
        "past_hours_since": (now - np.where(listed, line.last(known), now)) / HOUR_US,
        "price_to_past": np.log(asked.price / np.where(listed, line.sums(known, past.price) / count, asked.price)),
    }
    return {name: np.where(listed, value, np.nan) for name, value in values.items()}


def latest_position(asked: Lists, past: Lists, *, asked_key: np.ndarray, past_key: np.ndarray) -> np.ndarray:
    """float64 [N]: the item's position in the latest past list of the same key (int64 [R], [P]; -1 = none)."""
    size = int(max(asked.item.max(initial=0), past.item.max(initial=0))) + 1
    line = Timeline(pair(past_key[past.of_row], past.item, size=size), past.time[past.of_row])
    wanted = pair(asked_key[asked.of_row], asked.item, size=size)
    known = line.before(wanted, asked.time[asked.of_row])
    listed = (known.count > 0) & (wanted >= 0)
    return np.where(listed, _at(past.position[line.order], np.maximum(known.stop - 1, 0)), np.nan)


def similar_lists(asked: Lists, past: Lists, *, items: int) -> dict[str, np.ndarray]:
    """Positions [N] in earlier lists, weighted by how alike they are to the asked one; and the best likeness [R].

    Likeness = Jaccard overlap of items, squared, x 0.05 where query, filters or order differ; the most alike list
    takes overlap x 0.5 instead, the later one of equals.
    """
    ours, theirs = (
        asked.matrix(np.ones(len(asked.item)), items=items),
        past.matrix(np.ones(len(past.item)), items=items),
    )
    common = (ours @ theirs.T).tocoo()
    earlier = past.time[common.col] < asked.time[common.row]
    a, p, both = common.row[earlier], common.col[earlier], common.data[earlier]
    jaccard = both / (np.diff(asked.offsets)[a] + np.diff(past.offsets)[p] - both)
    same = asked.context[a] == past.context[p]
    shape = (len(asked.time), len(past.time))
    weights = sp.csr_matrix((jaccard**2 * np.where(same, 1.0, 0.05), (a, p)), shape=shape)
    weight = _rows(weights @ theirs, asked)
    inverse = _rows(weights @ past.matrix(1 / past.position, items=items), asked)
    order = np.lexsort((past.time[p], jaccard * np.where(same, 1.0, 0.5), a))
    best = order[np.append(a[order][1:] != a[order][:-1], True)[: len(order)]]
    chosen = sp.csr_matrix((np.ones(len(best)), (a[best], p[best])), shape=shape)
    position = _rows(chosen @ past.matrix(past.position, items=items), asked)
    likeness = np.zeros(len(asked.time))
    likeness[a[best]] = jaccard[best]
    return {
        "similar_inverse_position": np.where(weight > 0, inverse / np.where(weight > 0, weight, 1), np.nan),
        "most_alike_position": np.where(position > 0, position, np.nan),
        "most_alike_overlap": likeness,
    }


def _rows(matrix: sp.csr_matrix, asked: Lists) -> np.ndarray:
    """float64 [N]: the matrix's entries at the asked rows, 0 where it has none."""
    matrix = matrix.tocsr()
    matrix.sort_indices()
    size = np.int64(matrix.shape[1])
    keys = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr)) * size + matrix.indices
    wanted = np.where(asked.item >= 0, asked.of_row * size + asked.item, -1)
    place = np.searchsorted(keys, wanted)
    found = _at(keys, np.minimum(place, len(keys) - 1)) == wanted if len(keys) else np.zeros(len(wanted), bool)
    return np.where(found, _at(matrix.data, np.minimum(place, len(keys) - 1)), 0.0)


def _at(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return values[rows] if len(values) else np.full(len(rows), np.nan)
