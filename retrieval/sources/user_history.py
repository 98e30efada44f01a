"""User history: what this shopper keeps coming back to."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from features.interactions import Interactions
from retrieval.candidates import Query
from retrieval.decayed import DecayedCounts, RankedRows, first_allowed


class UserHistory:
    """The user's own items, score = log(1 + decayed count); a shopper without a past gets none."""

    name = "repeats"

    def __init__(self, n_items: int, *, half_life_days: float = 120.0, name: str = "repeats") -> None:
        self.name = name
        self._users = DecayedCounts(n_items, half_life_days=half_life_days)
        self._ranked: RankedRows | None = None  # of the counts as they are, once needed

    def update(self, events: Interactions) -> None:
        """Learn from further interactions and age the rest to their end."""
        self._users.update(events.user, events.item, events.time, events.weight, until=events.until)
        self._ranked = None

    def propose(self, query: Query, *, k: int) -> tuple[np.ndarray, np.ndarray]:
        """At most k of the user's items."""
        row = self._users.names.get(query.user_id)
        if row is None:
            return np.empty(0, np.int32), np.empty(0, np.float32)
        if self._ranked is None:
            self._ranked = RankedRows(self._users.counts)
        items, counts = first_allowed(*self._ranked.row(row), query, k=k)
        return items, np.log1p(counts)

    def score(self, query: Query, items: np.ndarray) -> np.ndarray:
        """The same of any items: 0 for those that are not the user's."""
        return np.log1p(self._users.of(query.user_id, items))

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._users.save(folder / "users.npz")
        (folder / "name.txt").write_text(self.name)

    @classmethod
    def load(cls, folder: Path) -> UserHistory:
        users = DecayedCounts.load(folder / "users.npz")
        name = (folder / "name.txt").read_text()
        loaded = cls(users.counts.shape[1], half_life_days=users.half_life_days, name=name)
        loaded._users = users
        return loaded
