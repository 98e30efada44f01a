"""What this shopper keeps coming back to."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np

from retrieval.decayed import DecayedCounts, RankedRows, first_allowed
from retrieval.interactions import Interactions
from retrieval.source import Query


class Repeats:
    """The user's own items, score = log of their decayed count; a shopper without a past gets none."""

    name = "repeats"

    def __init__(self, n_items: int, *, half_life_days: float = 120.0) -> None:
        self._users = DecayedCounts(n_items, half_life_days=half_life_days)

    def update(self, events: Interactions) -> None:
        """Learn from further interactions and age the rest to their end."""
        self._users.update(events.user, events.item, events.time, events.weight, until=events.until)
        self.__dict__.pop("_ranked", None)

    @cached_property
    def _ranked(self) -> RankedRows:
        return RankedRows(self._users.counts)

    def propose(self, query: Query, *, k: int) -> tuple[np.ndarray, np.ndarray]:
        """At most k of the user's items."""
        row = self._users.names.get(query.user_id)
        if row is None:
            return np.empty(0, np.int32), np.empty(0, np.float32)
        items, counts = first_allowed(*self._ranked.row(row), query, k=k)
        return items, np.log(np.maximum(counts, np.finfo(np.float32).tiny))

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._users.save(folder / "users.npz")

    @classmethod
    def load(cls, folder: Path) -> Repeats:
        users = DecayedCounts.load(folder / "users.npz")
        loaded = cls(users.counts.shape[1], half_life_days=users.half_life_days)
        loaded._users = users
        return loaded
