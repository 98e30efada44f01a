"""Exponentially decayed counts of items by a key (user, segment), held sparse and ranked within each key.

count(key, item, t) = sum over interactions of weight x 2^-((t - time) / half-life). Updates may come in any number of
parts: the parts add up to what one update with everything gives.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from scipy import sparse

from marketplace.splits import DAY_US
from retrieval.candidates import Query
from retrieval.exact import top_rows


class DecayedCounts:
    """A sparse [keys, items] matrix of decayed counts as of a time, and its rows sorted by count."""

    def __init__(self, n_items: int, *, half_life_days: float) -> None:
        self.half_life_days = half_life_days
        self.names: dict[str, int] = {}
        self.counts = sparse.csr_matrix((0, n_items), dtype=np.float64)
        self.as_of: int | None = None

    def update(self, key: pa.DictionaryArray, item: np.ndarray, time: np.ndarray, weight: np.ndarray, *, until: int):
        """Age everything to `until` (UTC microseconds) and add interactions [m]; a null key is left out."""
        codes = self._rows(key)
        known = codes >= 0
        age = (until - time[known]) / DAY_US
        values = weight[known] * np.exp2(-age / self.half_life_days)
        shape = (len(self.names), self.counts.shape[1])
        fresh = sparse.csr_matrix((values, (codes[known], item[known])), shape=shape, dtype=np.float64)
        old = self.counts
        old.resize(shape)
        if self.as_of is not None:
            old *= np.exp2(-(until - self.as_of) / DAY_US / self.half_life_days)
        self.counts = (old + fresh).tocsr()
        self.counts.sort_indices()
        self.as_of = until

    def of(self, name: str, items: np.ndarray) -> np.ndarray:
        """Float64 [m]: one key's counts of items, 0 where there is none."""
        row = self.names.get(name)
        if row is None:
            return np.zeros(len(items))
        part = slice(self.counts.indptr[row], self.counts.indptr[row + 1])
        held, values = self.counts.indices[part], self.counts.data[part]
        if not len(held):
            return np.zeros(len(items))
        place = np.minimum(np.searchsorted(held, items), len(held) - 1)
        return np.where(held[place] == items, values[place], 0.0)

    def _rows(self, key: pa.DictionaryArray) -> np.ndarray:
        """Matrix row of each key, new names taking new rows; -1 for null."""
        indices = key.indices.fill_null(-1).to_numpy()
        used = np.unique(indices[indices >= 0])
        names = key.dictionary.take(pa.array(used)).to_pylist()
        place = np.full(len(key.dictionary) + 1, -1, np.int64)
        place[used] = [self.names.setdefault(name, len(self.names)) for name in names]
        return place[indices]

    def save(self, path: Path) -> None:
        """One npz file, without pickle."""
        names = np.array(list(self.names), dtype=np.str_)
        np.savez(
            path,
            names=names,
            data=self.counts.data,
            indices=self.counts.indices,
            indptr=self.counts.indptr,
            n_items=self.counts.shape[1],
            half_life_days=self.half_life_days,
            as_of=-1 if self.as_of is None else self.as_of,
        )

    @classmethod
    def load(cls, path: Path) -> DecayedCounts:
        with np.load(path, allow_pickle=False) as file:
            loaded = cls(int(file["n_items"]), half_life_days=float(file["half_life_days"]))
            loaded.names = {str(name): row for row, name in enumerate(file["names"])}
            shape = (len(loaded.names), int(file["n_items"]))
            loaded.counts = sparse.csr_matrix((file["data"], file["indices"], file["indptr"]), shape=shape)
            loaded.as_of = None if file["as_of"] < 0 else int(file["as_of"])
        return loaded


class RankedRows:
    """The rows of a sparse matrix, each sorted by descending value (equal values by column)."""

    def __init__(self, matrix: sparse.csr_matrix, *, keep: int | None = None) -> None:
        """`keep` = the most columns kept of a row."""
        matrix = matrix.tocsr()
        lengths = np.diff(matrix.indptr)
        row = np.repeat(np.arange(matrix.shape[0]), lengths)
        order = np.lexsort((matrix.indices, -matrix.data, row))
        if keep is not None:
            rank = np.arange(len(row)) - np.repeat(matrix.indptr[:-1], lengths)
            order = order[rank < keep]
            lengths = np.minimum(lengths, keep)
        self.starts = np.concatenate([[0], np.cumsum(lengths)])
        self.items = matrix.indices[order].astype(np.int32)
        self.values = matrix.data[order].astype(np.float32)

    def row(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """(columns, values) of one row, best first."""
        part = slice(self.starts[number], self.starts[number + 1])
        return self.items[part], self.values[part]

    def rows(self, numbers: np.ndarray, *, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(place in `numbers`, columns, values) of the first `most` entries of several rows, concatenated."""
        begin = self.starts[numbers]
        lengths = np.minimum(self.starts[numbers + 1] - begin, most)
        place = np.repeat(np.arange(len(numbers)), lengths)
        within = np.arange(len(place)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        at = begin[place] + within
        return place, self.items[at], self.values[at]


def first_allowed(items: np.ndarray, scores: np.ndarray, query: Query, *, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The first k of a sorted list that the query allows; reads no further into the list than it needs to."""
    size = 2 * k + len(query.exclude)
    while True:
        places = np.flatnonzero(permitted(items[:size], query))[:k]
        if len(places) == k or size >= len(items):
            return items[places], scores[places]
        size *= 8


def permitted(items: np.ndarray, query: Query) -> np.ndarray:
    """Bool [m]: which items the query allows and does not exclude."""
    keep = np.ones(len(items), bool) if query.allowed is None else query.allowed[items]
    if len(query.exclude):
        keep &= ~np.isin(items, query.exclude, kind="table")
    return keep


def best_allowed(items: np.ndarray, scores: np.ndarray, query: Query, *, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k best of distinct unsorted items that the query allows; equal scores in the order given."""
    keep = permitted(items, query)
    items, scores = items[keep], scores[keep]
    best = top_rows(scores[None], k=k)[0]
    return items[best].astype(np.int32), scores[best].astype(np.float32)


def log_of_known(items: np.ndarray, known: np.ndarray, total: np.ndarray, *, floor: float) -> np.ndarray:
    """float64 [n]: log(total + floor) of any `items`, of which `known` (sorted) have a total; the others have 0."""
    if not len(known):
        return np.full(len(items), np.log(floor))
    place = np.minimum(np.searchsorted(known, items), len(known) - 1)
    return np.log(np.where(known[place] == items, total[place], 0.0) + floor)
