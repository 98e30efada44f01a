"""Searched documents: a collection, and the documents that came after it, as one search sees them.

A word of the query is answered by itself (its term in an item's name or labels), or nearly (`text_match`); each way
that a document answers it weighs what its term weighs there times the way's factor, and the best way counts. A compound
is one word or two: `smart phone` is answered by `smartphone`; a word that no document has by its two parts. (Documents
that part what others write as one are indexed under both: `Document.with_compounds`.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from features.text.documents import Group
from features.text.later_documents import LaterDocuments, current, joined_name
from features.text.named_groups import NamedGroups
from features.text.postings import Postings
from features.text.text_match import MOST, TextMatch
from marketplace.schema import RELEVANCE_GRADES

ENGLISH, ARABIC = "a an and at by for from in of on or the to with", "و في من علي الي عن مع او"
STOP_WORDS = frozenset(f"{ENGLISH} {ARABIC}".split(" "))  # in normal form
ALTERNATIVES = 32  # terms that may stand for one word
BEGINNING, NEAR, NAMED = 0.8, 0.6, 0.5  # factors of a word that begins so, is spelt nearly so, of the group it names
SHORTEST_BEGINNING = 2  # letters
SHORTEST_HEAD = 3  # letters of the second part of a compound


@dataclass(frozen=True, eq=False)
class SearchedDocuments:
    """A `collection` and `later` documents, oldest part first; there are `rows` rows."""

    collection: Postings
    groups: NamedGroups
    rows_called: Mapping[str, list[int]]  # by name, as `joined_name` has it
    later: Sequence[LaterDocuments]
    rows: int

    def match(self, query: tuple[str, ...]) -> TextMatch:
        """The documents that answer some word of the query, its words in normal form."""
        searched = tuple(dict.fromkeys(word for word in query if word not in STOP_WORDS)) or tuple(dict.fromkeys(query))
        score = np.zeros(self.rows, np.float32)
        answered, entirely = np.zeros(self.rows, np.int8), np.zeros(self.rows, np.int8)
        compounds = {pair: self._answers("".join(pair), last=False) for pair in pairwise(query) if self._known(pair)}
        for place, word in enumerate(searched):
            best, whole = self._answers(word, last=place == len(searched) - 1)
            for pair, (weight, entire) in compounds.items():
                if word in pair:
                    np.maximum(best, weight / 2, out=best)  # each word its half
                    whole |= entire
            score += best
            answered += best > 0
            entirely += whole
        items = np.flatnonzero(answered).astype(np.int32)
        coverage = (answered[items] / max(len(searched), 1)).astype(np.float32)
        grade = np.full(len(items), RELEVANCE_GRADES["part"], np.int8)
        grade[coverage >= MOST] = RELEVANCE_GRADES["most"]
        grade[coverage == 1] = RELEVANCE_GRADES["nearly"]
        grade[entirely[items] == len(searched)] = RELEVANCE_GRADES["all"]
        grade[np.isin(items, self._called(joined_name(query)))] = RELEVANCE_GRADES["name"]
        return TextMatch(searched, items, score[items], coverage, grade)

    def _answers(self, word: str, *, last: bool) -> tuple[np.ndarray, np.ndarray]:
        """(weight float32 [rows] of the best way that a document answers the word, bool [rows]: by itself)."""
        best, whole = np.zeros(self.rows, np.float32), np.zeros(self.rows, bool)
        ways, unknown = self._ways(word, last=last)
        for postings, replaced, terms in zip(self._postings, self._replaced, ways, strict=True):
            best[replaced], whole[replaced] = 0, False
            for term, factor in terms.items():
                held, weights, strong = postings.of(term)
                best[held] = np.maximum(best[held], np.float32(factor) * weights)
                if factor == 1:
                    whole[held] |= strong
            for held, weights, strong in compounds_of(word, postings) if unknown else ():
                best[held] = np.maximum(best[held], weights)
                whole[held] |= strong
        for term in self.collection.exact(word):
            weight = np.float32(NAMED) * self.collection.of(term)[1].mean()
            for group in self.groups.by_term.get(term, ()):
                members = self._members(group)
                best[members] = np.maximum(best[members], weight)
                whole[members] = True
        return best, whole

    def _ways(self, word: str, *, last: bool) -> tuple[list[dict[int, float]], bool]:
        """By postings the terms that stand for the word, with their factors; whether no document has the word."""
        ways: list[dict[int, float]] = [dict.fromkeys(part.exact(word), 1.0) for part in self._postings]
        if last and len(word) >= SHORTEST_BEGINNING:
            for part, terms in zip(self._postings, ways, strict=True):
                for term in part.beginning(word, most=ALTERNATIVES):
                    terms.setdefault(term, BEGINNING)
        if any(ways):
            return ways, False
        return [dict.fromkeys(part.spelt_near(word, most=ALTERNATIVES), NEAR) for part in self._postings], True

    def _known(self, pair: tuple[str, str]) -> bool:
        """Whether some document has the two words as one."""
        return any(part.exact("".join(pair)) for part in self._postings)

    def _called(self, name: str) -> list[int]:
        """The rows of this very name."""
        rows = current(self.rows_called.get(name, ()), self.later)
        for place, part in enumerate(self.later, start=1):
            rows += current(part.called.get(name, ()), self.later[place:])
        return rows

    def _members(self, group: Group) -> np.ndarray:
        rows = self.groups.rows[group]
        if not self.later:
            return rows
        further = [
            row
            for place, part in enumerate(self.later, start=1)
            for row in current(part.members.get(group, ()), self.later[place:])
        ]
        return np.append(np.setdiff1d(rows, np.concatenate(self._replaced)), np.array(further, np.int32))

    @cached_property
    def _postings(self) -> list[Postings]:
        """Of the collection and of each part after it."""
        return [self.collection, *(part.postings for part in self.later)]

    @cached_property
    def _replaced(self) -> list[np.ndarray]:
        """int32: of each of these, the rows whose older documents it replaces."""
        return [np.empty(0, np.int32), *(part.rows for part in self.later)]


def compounds_of(word: str, postings: Postings) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(rows, weights, strong) of the documents that have both parts of a word, for each way to part it."""
    for cut in range(1, len(word) - SHORTEST_HEAD + 1):
        one, other = postings.exact(word[:cut]), postings.exact(word[cut:])
        if one and other:
            (rows, weights, strong), (others, further, firm) = postings.of(one[0]), postings.of(other[0])
            both, here, there = np.intersect1d(rows, others, assume_unique=True, return_indices=True)
            yield both, (weights[here] + further[there]) / 2, strong[here] & firm[there]
