"""Co-visits: items touched in one session, with what the shopper touched last."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from scipy import sparse

from features.interactions import Interactions
from marketplace.splits import DAY_US
from retrieval.candidates import Query
from retrieval.decayed import RankedRows, best_allowed, log_of_known

SIMILARITY_FLOOR = 1e-3
LATEST = 50  # items of the history that are looked at


def visit_pairs(events: Interactions, *, n_items: int, half_life_days: float) -> sparse.csr_matrix:
    """n_ij, float64 [n_items, n_items]: of sessions that come whole, aged from their last event to `events.until`.

    Those of disjoint sessions add up.
    """
    known = events.session.indices.fill_null(-1).to_numpy()
    inside = known >= 0
    _, session = np.unique(known[inside], return_inverse=True)
    count = int(session.max()) + 1 if len(session) else 0
    touched = sparse.csr_matrix((np.ones(len(session)), (session, events.item[inside])), shape=(count, n_items))
    touched.data[:] = 1  # twice in a session is once: summed above, set to 1 here
    latest = np.full(count, np.iinfo(np.int64).min)
    np.maximum.at(latest, session, events.time[inside])
    weight = np.exp2(-(events.until - latest) / DAY_US / half_life_days)
    return (touched.T @ sparse.diags(weight) @ touched).tocsr()


class PairsOf(Protocol):
    """Whatever counts the `visit_pairs` of a data set's visits in [since, until) (UTC microseconds)."""

    def __call__(self, since: int | None, until: int, *, half_life_days: float) -> sparse.csr_matrix: ...


class CoVisits:
    """Item-to-item: score = log sum over the history of recency x similarity.

    similarity(i, j) = n_ij / sqrt((n_i + damping)(n_j + damping)), n_ij = decayed number of sessions that touched
    both; recency halves every `recency` items back in the history.
    """

    name = "covisits"

    def __init__(
        self,
        n_items: int,
        *,
        half_life_days: float = 120.0,
        damping: float = 3.0,
        neighbours: int = 100,
        recency: float = 10.0,
    ) -> None:
        self._half_life_days = half_life_days
        self._damping = damping
        self._neighbours = neighbours
        self._recency = recency
        self._pairs = sparse.csr_matrix((n_items, n_items))
        self._as_of: int | None = None
        self._similar: RankedRows | None = None  # of the pairs as they are, once needed

    @property
    def n_items(self) -> int:
        return self._pairs.shape[0]

    @property
    def half_life_days(self) -> float:
        return self._half_life_days

    def update(self, events: Interactions) -> None:
        """Learn from further sessions (a session must come whole) and age the rest to their end."""
        pairs = visit_pairs(events, n_items=self.n_items, half_life_days=self._half_life_days)
        self.add(pairs, until=events.until)

    def add(self, pairs: sparse.csr_matrix, *, until: int) -> None:
        """Learn the `visit_pairs` of further sessions, which are as of `until` (UTC microseconds)."""
        if self._as_of is not None:
            self._pairs *= np.exp2(-(until - self._as_of) / DAY_US / self._half_life_days)
        self._pairs = (self._pairs + pairs).tocsr()
        self._as_of = until
        self._similar = None

    def _neighbour_rows(self) -> RankedRows:
        if self._similar is None:
            self._similar = self._ranked()
        return self._similar

    def _ranked(self) -> RankedRows:
        scale = 1 / np.sqrt(self._pairs.diagonal() + self._damping)
        pairs = self._pairs.tocoo()
        other = pairs.row != pairs.col
        row, column = pairs.row[other], pairs.col[other]
        values = pairs.data[other] * scale[row] * scale[column]
        return RankedRows(sparse.csr_matrix((values, (row, column)), shape=pairs.shape), keep=self._neighbours)

    def propose(self, query: Query, *, k: int) -> tuple[np.ndarray, np.ndarray]:
        """At most k items that go with the history."""
        items, total = self._totals(query)
        return best_allowed(items, np.log(total + SIMILARITY_FLOOR), query, k=k)

    def score(self, query: Query, items: np.ndarray) -> np.ndarray:
        """The score of any items; those that go with nothing of the history get the floor."""
        return log_of_known(items, *self._totals(query), floor=SIMILARITY_FLOOR)

    def _totals(self, query: Query) -> tuple[np.ndarray, np.ndarray]:
        """Items similar to the latest of the history, by row, with recency x similarity summed."""
        history = query.history[-LATEST:]
        weight = np.exp2(-np.arange(len(history))[::-1] / self._recency)
        place, items, similarity = self._neighbour_rows().rows(history, most=self._neighbours)
        similar, inverse = np.unique(items, return_inverse=True)
        return similar, np.bincount(inverse, weight[place] * similarity, minlength=len(similar))

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(
            folder / "pairs.npz",
            data=self._pairs.data,
            indices=self._pairs.indices,
            indptr=self._pairs.indptr,
            as_of=-1 if self._as_of is None else self._as_of,
            settings=np.array([self._half_life_days, self._damping, self._neighbours, self._recency]),
        )

    @classmethod
    def load(cls, folder: Path) -> CoVisits:
        with np.load(folder / "pairs.npz", allow_pickle=False) as file:
            half_life, damping, neighbours, recency = file["settings"].tolist()
            n_items = len(file["indptr"]) - 1
            loaded = cls(
                n_items, half_life_days=half_life, damping=damping, neighbours=int(neighbours), recency=recency
            )
            loaded._pairs = sparse.csr_matrix((file["data"], file["indices"], file["indptr"]), shape=(n_items, n_items))
            loaded._as_of = None if file["as_of"] < 0 else int(file["as_of"])
        return loaded
