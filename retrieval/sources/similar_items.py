"""Similar items: what is like the page's item in category, attributes, words of the name and price."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import sparse

from features.catalogue import Catalogue
from retrieval.candidates import Query
from retrieval.decayed import best_allowed, permitted

LEAST_PRICE = 0.01  # currency: a price of nothing has no logarithm
KIN = "brand"  # the attribute whose sharers are proposed from other categories too
SCORED = 20_000  # items of a category and brand that are compared: those of the nearest price where there are more
NONE = -1  # the code of what is not known: like nothing


class SimilarItems:
    """score = same category + attributes / 2 + words - price / 4, of the page's item and a candidate.

    `attributes`: the share of the page item's attributes that the candidate has; `words`: cosine of the names' words,
    each weighted by log(n / items with it); `price`: |log ratio|, at most 2. Proposed are the items of its category and
    of its brand, of a price near its own where there are more than SCORED.
    """

    name = "similar"

    def __init__(self, category: np.ndarray, attributes: np.ndarray, kin: np.ndarray, words: sparse.csr_matrix, price):
        """`category` int32 [n], `attributes` int32 [n, a] and `kin` int32 [n] are codes, -1 = not known; `words` the
        unit rows of the names [n, vocabulary]; `price` float64 [n]."""
        self._category, self._attributes, self._kin, self._words = category, attributes, kin, words
        self._price, self._log_price = price, np.log(np.maximum(price, LEAST_PRICE))
        self._known = np.maximum((attributes != NONE).sum(axis=1), 1)

    @classmethod
    def of(cls, catalogue: Catalogue) -> SimilarItems:
        """Of a catalogue."""
        codes, nobody = catalogue.attribute_codes, np.full(len(catalogue), NONE, np.int32)
        attributes = np.stack([*codes.values()], axis=1) if codes else nobody[:, None]
        return cls(catalogue.category, attributes, codes.get(KIN, nobody), catalogue.word_vectors.rows, catalogue.price)

    def propose(self, query: Query, *, k: int) -> tuple[np.ndarray, np.ndarray]:
        """At most k items, none without a page's item."""
        if query.page_item is None:
            return np.empty(0, np.int32), np.empty(0, np.float32)
        alike = _same(self._category, query.page_item) | _same(self._kin, query.page_item)
        items = np.flatnonzero(alike).astype(np.int32)
        if len(items) > SCORED:
            items = items[permitted(items, query)]
            far = np.abs(self._log_price[items] - self._log_price[query.page_item])
            items = np.sort(items[np.argsort(far, kind="stable")[:SCORED]])
        return best_allowed(items, self.score(query, items), query, k=k)

    def score(self, query: Query, items: np.ndarray) -> np.ndarray:
        """The score of any items; 0 without a page's item."""
        page = query.page_item
        if page is None:
            return np.zeros(len(items))
        category = _same(self._category, page)[items]
        shared = (self._attributes[items] == self._attributes[page]) & (self._attributes[page] != NONE)
        words = self._words[items] @ self._words[page].toarray().ravel()
        price = np.minimum(np.abs(self._log_price[items] - self._log_price[page]), 2.0)
        return category + shared.sum(axis=1) / self._known[page] / 2 + words - price / 4

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        sparse.save_npz(folder / "words.npz", self._words)
        codes = {"category": self._category, "attributes": self._attributes, "kin": self._kin}
        np.savez(folder / "items.npz", allow_pickle=False, price=self._price, **codes)

    @classmethod
    def load(cls, folder: Path) -> SimilarItems:
        with np.load(folder / "items.npz", allow_pickle=False) as file:
            columns = (file["category"], file["attributes"], file["kin"])
            return cls(*columns, sparse.load_npz(folder / "words.npz").tocsr(), file["price"])


def _same(codes: np.ndarray, item: int) -> np.ndarray:
    """bool [n]: the items with the code of one of them."""
    return (codes == codes[item]) & (codes[item] != NONE)
