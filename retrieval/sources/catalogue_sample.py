"""Sample of the catalogue: what a shop shows before anything is known of its shoppers."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from retrieval.candidates import Query

SHUFFLE = np.uint64(0x9E3779B97F4A7C15)  # odd: a product with it is a permutation of the 64-bit numbers


class CatalogueSample:
    """Items in an order of each request's own, which (user, time) decides: every item is drawn as often as any other.

    score = log u, u uniform in (0, 1) by item and request, so that it is the same bits in a replay.
    """

    name = "sample"
    knows_new = True

    def __init__(self, n_items: int) -> None:
        self._n_items = n_items

    def propose(self, query: Query, *, k: int) -> tuple[np.ndarray, np.ndarray]:
        """At most k allowed items, drawn without replacement."""
        items = np.arange(self._n_items) if query.allowed is None else np.flatnonzero(query.allowed)
        items = np.setdiff1d(items, query.exclude).astype(np.int32)
        scores = self.score(query, items)
        best = np.argsort(-scores, kind="stable")[:k]
        return items[best], scores[best].astype(np.float32)

    def score(self, query: Query, items: np.ndarray) -> np.ndarray:
        """log u of any items."""
        name = hashlib.blake2b(f"{query.user_id} {query.time}".encode(), digest_size=8).digest()
        mixed = (items.astype(np.uint64) + np.frombuffer(name, np.uint64)) * SHUFFLE
        mixed = (mixed ^ (mixed >> np.uint64(32))) * SHUFFLE
        return np.log(((mixed >> np.uint64(11)) + np.uint64(1)) * 2.0**-53)

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "settings.json").write_text(json.dumps({"n_items": self._n_items}))

    @classmethod
    def load(cls, folder: Path) -> CatalogueSample:
        return cls(**json.loads((folder / "settings.json").read_text()))
