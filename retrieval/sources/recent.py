"""Recent items: what was touched a moment ago, as a shopper goes back and forth between a few items."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from retrieval.candidates import Query
from retrieval.decayed import first_allowed


class Recent:
    """The history itself, newest first; score = -log(1 + places back). It has nothing to learn."""

    name = "recent"
    knows_new = True

    def __init__(self, n_items: int) -> None:
        self._n_items = n_items

    def propose(self, query: Query, *, k: int) -> tuple[np.ndarray, np.ndarray]:
        """At most k distinct items of the history."""
        items, back = self._latest(query)
        return first_allowed(items.astype(np.int32), -np.log1p(back).astype(np.float32), query, k=k)

    def score(self, query: Query, items: np.ndarray) -> np.ndarray:
        """The score of any items; those not in the history as if they were further back than all of it."""
        latest, back = self._latest(query)
        last = max(items.max(initial=-1), latest.max(initial=-1), self._n_items - 1)
        places = np.full(last + 1, max(NEVER, len(query.history)))
        places[latest] = back
        return -np.log1p(places[items])

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "settings.json").write_text(json.dumps({"n_items": self._n_items}))

    @classmethod
    def load(cls, folder: Path) -> Recent:
        return cls(**json.loads((folder / "settings.json").read_text()))

    @staticmethod
    def _latest(query: Query) -> tuple[np.ndarray, np.ndarray]:
        """(distinct items newest first, places back)."""
        items, back = np.unique(query.history[::-1], return_index=True)
        order = np.argsort(back)
        return items[order], back[order]


NEVER = 100  # places back
