"""Affinity: what is popular in the groups (categories, merchants, price bands) that this shopper's history leans to."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
from scipy import sparse

from features.interactions import Interactions
from retrieval.candidates import Query
from retrieval.decayed import DecayedCounts, RankedRows, best_allowed

TINY = 1e-9  # the share of a group that nobody touched


class Affinity:
    """score = log share(item) + strength x log lift(group of the item).

    lift(g) = (history in g + damping x share(g)) / ((history + damping) x share(g)): how much more often the history
    is in the group than shoppers at large. Only groups of the history are proposed from, the most lifted first.
    """

    name = "affinity"

    def __init__(
        self,
        group: np.ndarray,
        *,
        half_life_days: float = 14.0,
        strength: float = 0.2,
        damping: float = 20.0,
        groups_most: int = 64,
        each_most: int = 100,
        name: str = "affinity",
    ) -> None:
        """`group` int32 [n_items]: the group of each item; damping in history items."""
        self.name = name
        self._group = group.astype(np.int32)
        self._settings = (strength, damping, groups_most, each_most)
        self._keep(DecayedCounts(len(group), half_life_days=half_life_days))

    def update(self, events: Interactions) -> None:
        """Learn from further interactions and age the rest to their end."""
        everyone = pa.DictionaryArray.from_arrays(np.zeros(len(events.item), np.int32), pa.array(["all"]))
        self._counts.update(everyone, events.item, events.time, events.weight, until=events.until)
        self._keep(self._counts)

    def _keep(self, counts: DecayedCounts) -> None:
        self._counts = counts
        self._shares = _GroupShares(counts.counts, self._group, each_most=self._settings[3])

    def propose(self, query: Query, *, k: int) -> tuple[np.ndarray, np.ndarray]:
        """At most k items of the history's groups."""
        strength, _, groups_most, each_most = self._settings
        groups, times = np.unique(self._group[query.history], return_counts=True)
        lift = self._lift(times, self._shares.of_groups[groups], len(query.history))
        most = np.argsort(-lift, kind="stable")[:groups_most]
        place, items, value = self._shares.ranked.rows(groups[most], most=each_most)
        return best_allowed(items, np.log(value) + strength * lift[most][place], query, k=k)

    def score(self, query: Query, items: np.ndarray) -> np.ndarray:
        """The log lift of any items' groups."""
        times = np.bincount(self._group[query.history], minlength=len(self._shares.of_groups))
        return self._lift(times, self._shares.of_groups, len(query.history))[self._group[items]]

    def _lift(self, times: np.ndarray, share: np.ndarray, length: int) -> np.ndarray:
        damping, share = self._settings[1], np.maximum(share, TINY)
        return np.log((times + damping * share) / ((length + damping) * share))

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._counts.save(folder / "counts.npz")
        np.savez(folder / "groups.npz", group=self._group, settings=np.array(self._settings), name=self.name)

    @classmethod
    def load(cls, folder: Path) -> Affinity:
        counts = DecayedCounts.load(folder / "counts.npz")
        with np.load(folder / "groups.npz", allow_pickle=False) as file:
            strength, damping, groups_most, each_most = file["settings"].tolist()
            loaded = cls(
                file["group"],
                half_life_days=counts.half_life_days,
                strength=strength,
                damping=damping,
                groups_most=int(groups_most),
                each_most=int(each_most),
                name=str(file["name"]),
            )
        loaded._keep(counts)
        return loaded


class _GroupShares:
    """What follows from the counts as they are, each once it is needed."""

    def __init__(self, counts: sparse.csr_matrix, group: np.ndarray, *, each_most: int) -> None:
        self._counts, self._group, self._each_most = counts, group, each_most

    @cached_property
    def ranked(self) -> RankedRows:
        """Items of each group by share of everything."""
        share = np.asarray(self._counts.sum(axis=0)).ravel()
        items = np.flatnonzero(share)
        shape = (int(self._group.max()) + 1, len(share))
        by_group = sparse.csr_matrix((share[items] / share.sum(), (self._group[items], items)), shape=shape)
        return RankedRows(by_group, keep=self._each_most)

    @cached_property
    def of_groups(self) -> np.ndarray:
        share = np.asarray(self._counts.sum(axis=0)).ravel()
        return np.bincount(self._group, share, minlength=int(self._group.max()) + 1) / max(share.sum(), TINY)
