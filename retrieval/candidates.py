"""Candidate sources: the query that they read, the candidates that come of it, and what a source is."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np


@dataclass(frozen=True)
class Query:
    """One request, as retrieval sees it. Items are rows of the catalogue (int32).

    `embedding` float32 [d] is the query tower's output, or None where no tower is loaded. `allowed` bool
    [n_items] is what may be shown (in stock, of the page's merchant, in the filters); None = everything.
    `exclude` int32: rows that must not be proposed. `history` int32: rows the user touched, newest last. `time` is
    UTC microseconds, 0 where only sources that do not look at it are asked. `page_item` is the row of the item whose
    product page it is, None on the other surfaces. `text` is what a search is for.
    """

    user_id: str
    segment: str
    history: np.ndarray
    embedding: np.ndarray | None = None
    allowed: np.ndarray | None = None
    exclude: np.ndarray = field(default_factory=lambda: np.empty(0, np.int32))
    time: int = 0
    surface: str = "home"
    page_item: int | None = None
    text: str | None = None

    def on_page_of(self, item: int) -> Query:
        """The same query on the product page of `item`, which counts as touched now and is not proposed."""
        history = np.append(self.history[self.history != item], np.int32(item))
        exclude = np.union1d(self.exclude, [item]).astype(np.int32)
        return replace(self, surface="product_page", page_item=item, history=history, exclude=exclude)


@dataclass(frozen=True, eq=False)
class Candidates:
    """Columns over n distinct items: catalogue row (int32), source number (int8 into `sources`), score (float32).

    `unscored`: further ones that were proposed, which there was no time for.
    """

    items: np.ndarray
    source: np.ndarray
    score: np.ndarray
    sources: tuple[str, ...]
    unscored: int = 0

    @property
    def source_name(self) -> np.ndarray:
        """str [n]."""
        return np.array(self.sources, object)[self.source]

    def select(self, positions: np.ndarray) -> Candidates:
        """Those at the positions."""
        return Candidates(
            self.items[positions], self.source[positions], self.score[positions], self.sources, self.unscored
        )

    def first(self, n: int) -> Candidates:
        """The best n."""
        return replace(self.select(np.arange(n)), unscored=self.unscored + len(self.items) - n)

    def followed_by(self, items: np.ndarray, *, source: int) -> Candidates:
        """Those and further `items` of one source, each with a lower score than the one before."""
        lowest = self.score.min(initial=0.0)
        return Candidates(
            np.concatenate([self.items, items]).astype(np.int32),
            np.append(self.source, np.full(len(items), source)).astype(np.int8),
            np.append(self.score, lowest - np.arange(1, len(items) + 1)).astype(np.float32),
            self.sources,
        )


class CandidateSource(Protocol):
    """One way to propose items."""

    name: str

    def propose(self, query: Query, *, k: int) -> tuple[np.ndarray, np.ndarray]:
        """At most k allowed items, best first, as (rows int32 [m], scores float32 [m])."""
        ...


@runtime_checkable
class NarrowingSource(CandidateSource, Protocol):
    """A source that says among which items all sources are to propose."""

    def narrowed(self, query: Query) -> Query:
        """The query with fewer items allowed, or as it was."""
        ...


@runtime_checkable
class PopularitySource(CandidateSource, Protocol):
    """A source that knows how popular every item is."""

    def shares(self) -> np.ndarray:
        """float64 [n_items]: each item's share of all touches."""
        ...


class SavedSource(CandidateSource, Protocol):
    """A source that can be written, and read back by its class method `load`."""

    def save(self, folder: Path) -> None: ...
