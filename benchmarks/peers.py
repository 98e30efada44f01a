"""Peers of retrieval: the recommenders of the package `implicit`, with the interactions that the sources learned from.

ALS (Hu et al. 2008) of 64 factors on counts weighted by BM25, item-item BM25 of 50 neighbours, and popularity.
"""

from __future__ import annotations

import os

# Before NumPy reads it: implicit has threads of its own.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

from collections.abc import Iterator

import numpy as np
from scipy import sparse

from features.interactions import Interactions
from retrieval.candidates import Candidates, Query

FACTORS, NEIGHBOURS, SEED = 64, 50, 0


class Peer:
    """One recommender of `implicit`, asked as a `Retriever` is."""

    def __init__(self, name: str, model, counts: sparse.csr_matrix, users: list[str]) -> None:  # type: ignore[no-untyped-def]
        self.name, self._model, self._counts = name, model, counts
        self._row = {user: row for row, user in enumerate(users)}
        model.fit(counts, show_progress=False)

    def retrieve(self, query: Query, *, k: int) -> Candidates:
        """The k best for the query's user that it does not exclude."""
        row = self._row[query.user_id]
        items, score = self._model.recommend(
            row, self._counts[row], N=k, filter_already_liked_items=False, filter_items=query.exclude
        )
        return Candidates(items.astype(np.int32), np.zeros(len(items), np.int8), score, (self.name,))


class Popular:
    """Items by how many interactions they had."""

    name = "popularity"

    def __init__(self, counts: sparse.csr_matrix) -> None:
        self._count = np.asarray(counts.sum(axis=0)).ravel()
        self._order = np.argsort(-self._count, kind="stable")

    def retrieve(self, query: Query, *, k: int) -> Candidates:
        """The k most popular that the query does not exclude."""
        items = self._order[: k + len(query.exclude)]
        items = items[~np.isin(items, query.exclude)][:k].astype(np.int32)
        return Candidates(items, np.zeros(len(items), np.int8), self._count[items].astype(np.float32), (self.name,))


def peers(past: Interactions, *, n_items: int) -> Iterator[Peer | Popular]:
    """Each fitted on the same interactions; ImportError without the package."""
    from implicit.als import AlternatingLeastSquares
    from implicit.nearest_neighbours import BM25Recommender, bm25_weight

    users = past.user.dictionary.to_pylist()
    shape = (len(users), n_items)
    counts = sparse.csr_matrix((np.ones(len(past), np.float32), (past.users, past.item)), shape=shape)
    factors = AlternatingLeastSquares(factors=FACTORS, num_threads=1, random_state=SEED)
    yield Peer("implicit: ALS", factors, bm25_weight(counts, K1=100, B=0.8).tocsr().astype(np.float32), users)
    yield Peer("implicit: item-item BM25", BM25Recommender(K=NEIGHBOURS, num_threads=1), counts, users)
    yield Popular(counts)
