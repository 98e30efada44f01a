"""Same merchant: the best sellers of whoever sells the page's item."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from features.interactions import Interactions
from retrieval.candidates import Query
from retrieval.decayed import DecayedCounts, best_allowed


class SameMerchant:
    """score = log((1 + decayed count of the item) / (items + decayed count of the merchant's)); of others, -log 2
    below what an untouched item of the merchant has."""

    name = "same_merchant"

    def __init__(self, merchant: np.ndarray, *, half_life_days: float = 30.0) -> None:
        """`merchant` int32 [n_items]: a code an item."""
        self._merchant = merchant
        self._counts = DecayedCounts(len(merchant), half_life_days=half_life_days)
        self._count = np.zeros(len(merchant))

    def update(self, events: Interactions) -> None:
        """Learn from further interactions and age the rest to their end."""
        everyone = pa.DictionaryArray.from_arrays(np.zeros(len(events.item), np.int32), pa.array(["all"]))
        self._counts.update(everyone, events.item, events.time, events.weight, until=events.until)
        self._count = np.asarray(self._counts.counts.sum(axis=0)).ravel()

    def propose(self, query: Query, *, k: int) -> tuple[np.ndarray, np.ndarray]:
        """At most k of the merchant's items, none without a page's item."""
        if query.page_item is None:
            return np.empty(0, np.int32), np.empty(0, np.float32)
        items = np.flatnonzero(self._merchant == self._merchant[query.page_item]).astype(np.int32)
        return best_allowed(items, self.score(query, items), query, k=k)

    def score(self, query: Query, items: np.ndarray) -> np.ndarray:
        """The score of any items; 0 without a page's item."""
        if query.page_item is None:
            return np.zeros(len(items))
        sold = self._merchant == self._merchant[query.page_item]
        total = sold.sum() + self._count[sold].sum()
        return np.log(np.where(sold[items], 1 + self._count[items], 0.5) / total)

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._counts.save(folder / "counts.npz")
        np.savez(folder / "merchants.npz", allow_pickle=False, merchant=self._merchant)

    @classmethod
    def load(cls, folder: Path) -> SameMerchant:
        counts = DecayedCounts.load(folder / "counts.npz")
        with np.load(folder / "merchants.npz", allow_pickle=False) as file:
            loaded = cls(file["merchant"], half_life_days=counts.half_life_days)
        loaded._counts, loaded._count = counts, np.asarray(counts.counts.sum(axis=0)).ravel()
        return loaded
