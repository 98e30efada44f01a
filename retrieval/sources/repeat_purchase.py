"""Repeat purchases: those of the shopper's items that are of the kind that is bought again."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from features.interactions import Interactions
from retrieval.candidates import Query
from retrieval.decayed import DecayedCounts, best_allowed

FOREVER = 1e9  # days
RATE_FLOOR = 1e-3  # the least rate of an item
UNTOUCHED = 0.135  # the rate that items count which the user never touched: own items of a low rate are worth less


class RepeatPurchase:
    """The user's own items, score = log of the share of an item's users who came back to it in a later session.

    rate(i) = (returners + prior x mean rate) / (users + prior). Source: Bhagat et al. 2018, Buy It Again, section 3.1.
    """

    name = "rebuys"

    def __init__(self, n_items: int, *, prior: float = 5.0) -> None:
        """`prior` in users."""
        self._prior = prior
        self._sessions = DecayedCounts(n_items, half_life_days=FOREVER)
        self._rates: np.ndarray | None = None  # log, float64 [n_items], of the sessions as they are, once needed

    def update(self, events: Interactions) -> None:
        """Learn from further sessions (a session must come whole)."""
        user, session = (
            column.indices.fill_null(-1).to_numpy().astype(np.int64) for column in (events.user, events.session)
        )
        place = (user * (session.max(initial=0) + 2) + session + 1) * self._sessions.counts.shape[1] + events.item
        _, first = np.unique(place, return_index=True)
        first.sort()
        key = events.user.take(first)
        one = np.ones(len(first), np.float32)
        self._sessions.update(key, events.item[first], events.time[first], one, until=events.until)
        self._rates = None

    def _log_rates(self) -> np.ndarray:
        if self._rates is None:
            self._rates = self._estimated()
        return self._rates

    def _estimated(self) -> np.ndarray:
        counts = self._sessions.counts
        size = counts.shape[1]
        users = np.bincount(counts.indices, minlength=size)
        returners = np.bincount(counts.indices, counts.data > 1.5, minlength=size)
        mean = returners.sum() / max(users.sum(), 1)
        return np.log(np.maximum((returners + self._prior * mean) / np.maximum(users + self._prior, 1e-9), RATE_FLOOR))

    def propose(self, query: Query, *, k: int) -> tuple[np.ndarray, np.ndarray]:
        """At most k of the user's items."""
        row = self._sessions.names.get(query.user_id)
        if row is None:
            return np.empty(0, np.int32), np.empty(0, np.float32)
        start, stop = self._sessions.counts.indptr[row : row + 2]
        items = self._sessions.counts.indices[start:stop]
        return best_allowed(items, self._log_rates()[items], query, k=k)

    def score(self, query: Query, items: np.ndarray) -> np.ndarray:
        """The score of any items; those that are not the user's as if of rate UNTOUCHED."""
        touched = self._sessions.of(query.user_id, items) > 0
        return np.where(touched, self._log_rates()[items], np.log(UNTOUCHED))

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._sessions.save(folder / "sessions.npz")
        np.savez(folder / "settings.npz", prior=self._prior)

    @classmethod
    def load(cls, folder: Path) -> RepeatPurchase:
        sessions = DecayedCounts.load(folder / "sessions.npz")
        with np.load(folder / "settings.npz", allow_pickle=False) as settings:
            loaded = cls(sessions.counts.shape[1], prior=float(settings["prior"]))
        loaded._sessions = sessions
        return loaded
