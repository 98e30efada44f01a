"""New arrivals: items that began in the days before the request, newest first."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from marketplace.splits import DAY_US
from retrieval.candidates import Query
from retrieval.decayed import best_allowed


class NewArrivals:
    """score = -log(1 + days since the item began); items older than `days`, or not begun yet, as if of age `days`.

    `begun` may be an array that is written to as items begin.
    """

    name = "new_arrivals"
    knows_new = True

    def __init__(self, begun: np.ndarray, *, days: float = 30.0) -> None:
        """`begun` int64 [n_items]: UTC microseconds, the smallest int64 where an item always was."""
        self.begun, self._days = begun, days

    def propose(self, query: Query, *, k: int) -> tuple[np.ndarray, np.ndarray]:
        """At most k items that are new at the query's time."""
        within = (self.begun <= query.time) & (self.begun >= query.time - math.ceil(self._days * DAY_US))
        items = np.flatnonzero(within).astype(np.int32)
        age = self._age(query, items)
        new = age < self._days
        return best_allowed(items[new], -np.log1p(age[new]), query, k=k)

    def score(self, query: Query, items: np.ndarray) -> np.ndarray:
        """The score of any items."""
        return -np.log1p(self._age(query, items))

    def _age(self, query: Query, items: np.ndarray) -> np.ndarray:
        """float64 [m] days, `days` where an item is not new."""
        age = (float(query.time) - self.begun[items]) / DAY_US
        return np.where((age >= 0) & (age < self._days), age, self._days)

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(folder / "launches.npz", launched=self.begun, days=self._days)

    @classmethod
    def load(cls, folder: Path) -> NewArrivals:
        with np.load(folder / "launches.npz", allow_pickle=False) as file:
            return cls(file["launched"], days=float(file["days"]))
