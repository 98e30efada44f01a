"""Text match: which items answer a query, how well, and in which order.

An item's grade says how much of the query it answers; within a grade the BM25 score ranks. A word is answered by the
item's name or labels, or by the category or attribute that the word names; or nearly: by a word that begins with the
query's last, by the nearest spelling of a word that nobody knows, or by further text.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

MOST = 2 / 3  # of the words


@dataclass(frozen=True, eq=False)
class TextMatch:
    """The m items that answer some of a query's `words`: `rows` int32, sorted; of each, `score` float32 (BM25),
    `coverage` float32 (share of the words that it answers) and `grade` int8 (`marketplace.schema.RELEVANCE_GRADES`)."""

    words: tuple[str, ...]
    rows: np.ndarray
    score: np.ndarray
    coverage: np.ndarray
    grade: np.ndarray

    @cached_property
    def order(self) -> np.ndarray:
        """int64 [m]: positions by grade, then score; the earlier row first among equals."""
        return np.lexsort((-self.score, -self.grade))

    @cached_property
    def rank(self) -> np.ndarray:
        """float32 [m]: 1 = best; items that differ in nothing share the best place."""
        grade, score = self.grade[self.order], self.score[self.order]
        first = np.append(True, (np.diff(grade) != 0) | (np.diff(score) != 0))[: len(grade)]
        rank = np.empty(len(grade), np.float32)
        rank[self.order] = np.maximum.accumulate(np.where(first, np.arange(1, len(grade) + 1), 0))
        return rank

    def of(self, items: np.ndarray, column: np.ndarray) -> np.ndarray:
        """[n]: `column` of any items (catalogue rows), 0 where an item answers no word."""
        if not len(self.rows):
            return np.zeros(len(items), column.dtype)
        place = np.minimum(np.searchsorted(self.rows, items), len(self.rows) - 1)
        return np.where(self.rows[place] == items, column[place], column.dtype.type(0))
