"""Co-visits of the page's item: what shoppers touched, or bought, in the visits in which they touched or bought it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from features.interactions import Interactions
from retrieval.candidates import Query
from retrieval.sources.covisits import CoVisits


class PageCoVisits:
    """`CoVisits` from the page's item alone; nothing on other pages."""

    def __init__(self, covisits: CoVisits, *, name: str) -> None:
        self.name, self._covisits = name, covisits

    def update(self, events: Interactions) -> None:
        """Learn from further visits (a visit must come whole) and age the rest to their end."""
        self._covisits.update(events)

    def propose(self, query: Query, *, k: int) -> tuple[np.ndarray, np.ndarray]:
        """At most k items that go with the page's."""
        return self._covisits.propose(of_page(query), k=k)

    def score(self, query: Query, items: np.ndarray) -> np.ndarray:
        """The score of any items; those that do not go with the page's get the floor."""
        return self._covisits.score(of_page(query), items)

    def save(self, folder: Path) -> None:
        self._covisits.save(folder)
        (folder / "name.txt").write_text(self.name)

    @classmethod
    def load(cls, folder: Path) -> PageCoVisits:
        return cls(CoVisits.load(folder), name=(folder / "name.txt").read_text())


def of_page(query: Query) -> Query:
    """The query of somebody who touched the page's item alone, or nothing where there is none."""
    page = [] if query.page_item is None else [query.page_item]
    return replace(query, history=np.array(page, np.int32))
