"""Searched documents: a collection, and the documents that came after it, as one search sees them.

A word of the query is answered by itself (its term in an item's name or labels), or nearly (`text_match`); each way
that a document answers it weighs what its term weighs there times the way's factor, and the best way counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from features.text.documents import Document, Group
from features.text.named_groups import NamedGroups
from features.text.postings import Postings
from features.text.text_match import MOST, TextMatch
from marketplace.schema import RELEVANCE_GRADES

ENGLISH, ARABIC = "a an and at by for from in of on or the to with", "و في من علي الي عن مع او"
STOP_WORDS = frozenset(f"{ENGLISH} {ARABIC}".split(" "))  # in normal form
ALTERNATIVES = 32  # terms that may stand for one word
BEGINNING, NEAR, NAMED = 0.8, 0.6, 0.5  # factors of a word that begins so, is spelt nearly so, of the group it names
SHORTEST_BEGINNING = 2  # letters


@dataclass(frozen=True, eq=False)
class SearchedDocuments:
    """`collection` over `size` rows; `further` documents by row, which replace the collection's; None = taken away."""

    collection: Postings
    size: int
    groups: NamedGroups
    rows_called: Mapping[str, list[int]]  # by name in normal form
    further: Mapping[int, Document | None] = field(default_factory=dict)
    overlay: Postings | None = None

    def match(self, query: tuple[str, ...]) -> TextMatch:
        """The documents that answer some word of the query, its words in normal form."""
        searched = tuple(dict.fromkeys(word for word in query if word not in STOP_WORDS)) or tuple(dict.fromkeys(query))
        rows = max(self.size, max(self.further, default=-1) + 1)
        score, answered, entirely = np.zeros(rows, np.float32), np.zeros(rows, np.int8), np.zeros(rows, np.int8)
        for place, word in enumerate(searched):
            best, whole = self._answers(word, rows, last=place == len(searched) - 1)
            score += best
            answered += best > 0
            entirely += whole
        items = np.flatnonzero(answered).astype(np.int32)
        coverage = (answered[items] / max(len(searched), 1)).astype(np.float32)
        grade = np.full(len(items), RELEVANCE_GRADES["part"], np.int8)
        grade[coverage >= MOST] = RELEVANCE_GRADES["most"]
        grade[coverage == 1] = RELEVANCE_GRADES["nearly"]
        grade[entirely[items] == len(searched)] = RELEVANCE_GRADES["all"]
        grade[np.isin(items, self._called(" ".join(query)))] = RELEVANCE_GRADES["name"]
        return TextMatch(searched, items, score[items], coverage, grade)

    def _answers(self, word: str, rows: int, *, last: bool) -> tuple[np.ndarray, np.ndarray]:
        """(weight float32 [rows] of the best way that a document answers the word, bool [rows]: by itself)."""
        best, whole = np.zeros(rows, np.float32), np.zeros(rows, bool)
        for postings, ways in self._ways(word, last=last):
            for term, factor in ways.items():
                held, weights, strong = postings.of(term)
                best[held] = np.maximum(best[held], np.float32(factor) * weights)
                if factor == 1:
                    whole[held] |= strong
            if postings is self.collection:
                best[self._stale], whole[self._stale] = 0, False
        for term in self.collection.exact(word):
            weight = np.float32(NAMED) * self.collection.of(term)[1].mean()
            for group in self.groups.by_term.get(term, ()):
                members = self._members(group)
                best[members] = np.maximum(best[members], weight)
                whole[members] = True
        return best, whole

    def _ways(self, word: str, *, last: bool) -> list[tuple[Postings, dict[int, float]]]:
        """By postings: the terms that stand for the word, with their factors."""
        parts = [self.collection] if self.overlay is None else [self.collection, self.overlay]
        ways: list[dict[int, float]] = [dict.fromkeys(part.exact(word), 1.0) for part in parts]
        if last and len(word) >= SHORTEST_BEGINNING:
            for part, terms in zip(parts, ways, strict=True):
                for term in part.beginning(word, most=ALTERNATIVES):
                    terms.setdefault(term, BEGINNING)
        if not any(ways):
            ways = [dict.fromkeys(part.spelt_near(word, most=ALTERNATIVES), NEAR) for part in parts]
        return list(zip(parts, ways, strict=True))

    def _called(self, name: str) -> list[int]:
        """The rows of this very name."""
        rows = [row for row in self.rows_called.get(name, ()) if row not in self.further]
        return rows + [row for row, document in self.further.items() if document and " ".join(document.name) == name]

    def _members(self, group: Group) -> np.ndarray:
        rows = self.groups.rows[group]
        if not self.further:
            return rows
        further = [row for row, document in self.further.items() if document and group in document.groups]
        return np.append(np.setdiff1d(rows, self._stale), np.array(further, np.int32))

    @cached_property
    def _stale(self) -> np.ndarray:
        """int64: the collection's rows that further documents replace."""
        return np.array([row for row in self.further if row < self.size], np.int64)
