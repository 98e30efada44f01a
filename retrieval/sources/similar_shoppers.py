"""Similar shoppers: what those take who take the same items (user-based collaborative filtering)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import sparse

from features.interactions import Interactions
from retrieval.candidates import Query
from retrieval.decayed import DecayedCounts, RankedRows, best_allowed, log_of_known
from retrieval.exact import top_rows

FLOOR = 1e-4
TAKERS = 200  # of an item, whose counts of it are the highest, that are compared
EACH_MOST = 200  # items of a shopper that are lent


class SimilarShoppers:
    """score = log sum over the `neighbours` most similar shoppers v of similarity(u, v) x share(item in v).

    similarity = cosine of the shoppers' decayed item counts, each item's weighed by log(n / shoppers with it), over the
    TAKERS of each item: what everybody takes tells nobody apart. A shopper without a past gets none.
    Source: Herlocker et al. 1999.
    """

    name = "similar_shoppers"

    def __init__(self, n_items: int, *, half_life_days: float = 120.0, neighbours: int = 50) -> None:
        self._neighbours = neighbours
        self._keep(DecayedCounts(n_items, half_life_days=half_life_days))

    def _keep(self, users: DecayedCounts) -> None:
        self._users = users
        self._ranked: _Shoppers | None = None  # of the counts as they are, once needed

    def update(self, events: Interactions) -> None:
        """Learn from further interactions and age the rest to their end."""
        self._users.update(events.user, events.item, events.time, events.weight, until=events.until)
        self._keep(self._users)

    def propose(self, query: Query, *, k: int) -> tuple[np.ndarray, np.ndarray]:
        """At most k items of the similar shoppers."""
        items, total = self._totals(query)
        return best_allowed(items, np.log(total + FLOOR), query, k=k)

    def score(self, query: Query, items: np.ndarray) -> np.ndarray:
        """The score of any items; those that no similar shopper takes get the floor."""
        return log_of_known(items, *self._totals(query), floor=FLOOR)

    def _totals(self, query: Query) -> tuple[np.ndarray, np.ndarray]:
        row = self._users.names.get(query.user_id)
        if row is None:
            return np.empty(0, np.int32), np.empty(0)
        if self._ranked is None:
            self._ranked = _Shoppers(self._users.counts)
        return self._ranked.lent_to(row, neighbours=self._neighbours)

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._users.save(folder / "users.npz")
        (folder / "neighbours.txt").write_text(str(self._neighbours))

    @classmethod
    def load(cls, folder: Path) -> SimilarShoppers:
        users, neighbours = DecayedCounts.load(folder / "users.npz"), int((folder / "neighbours.txt").read_text())
        loaded = cls(users.counts.shape[1], half_life_days=users.half_life_days, neighbours=neighbours)
        loaded._keep(users)
        return loaded


class _Shoppers:
    """The counts [shoppers, items] by shopper and by item."""

    def __init__(self, counts: sparse.csr_matrix) -> None:
        shoppers, rarity = counts.shape[0], np.bincount(counts.indices, minlength=counts.shape[1])
        weighed = np.log1p(counts) @ sparse.diags(np.log(max(shoppers, 1) / np.maximum(rarity, 1)))
        self._unit = _rows_of_length_1(weighed.tocsr(), power=2)
        self._takers = RankedRows(self._unit.T.tocsr(), keep=TAKERS)
        self._taken = RankedRows(_rows_of_length_1(counts, power=1), keep=EACH_MOST)

    def lent_to(self, row: int, *, neighbours: int) -> tuple[np.ndarray, np.ndarray]:
        """Items, by row, and the sum over the similar shoppers of similarity x share."""
        own = slice(self._unit.indptr[row], self._unit.indptr[row + 1])
        place, shopper, weight = self._takers.rows(self._unit.indices[own], most=TAKERS)
        others, inverse = np.unique(shopper, return_inverse=True)
        similarity = np.bincount(inverse, self._unit.data[own][place] * weight, minlength=len(others))
        similarity[others == row] = 0
        best = top_rows(similarity[None], k=neighbours)[0]
        best = best[similarity[best] > 0]
        place, items, share = self._taken.rows(others[best], most=EACH_MOST)
        lent, inverse = np.unique(items, return_inverse=True)
        return lent, np.bincount(inverse, similarity[best][place] * share, minlength=len(lent))


def _rows_of_length_1(counts: sparse.csr_matrix, *, power: int) -> sparse.csr_matrix:
    length = np.asarray(counts.power(power).sum(axis=1)).ravel() ** (1 / power)
    return (sparse.diags(1 / np.maximum(length, 1e-12)) @ counts).tocsr()
