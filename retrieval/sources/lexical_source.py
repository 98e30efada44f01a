"""Lexical source: what answers the words of a search, by grade and BM25; nothing where nothing is searched."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from features.text.lexical_index import LexicalIndex
from features.text.text_match import TextMatch
from retrieval.candidates import Query
from retrieval.decayed import first_allowed

ENOUGH = 300  # items of the best grades among which all sources propose
HALF = 10.0  # BM25 that is worth half a grade


class LexicalSource:
    """score = grade + BM25 / (BM25 + HALF): the grade first, within a grade the words' weights."""

    name = "lexical"
    knows_new = True

    def __init__(self, index: LexicalIndex) -> None:
        self._index = index

    def propose(self, query: Query, *, k: int) -> tuple[np.ndarray, np.ndarray]:
        """At most k items that answer some word."""
        match = self._match(query)
        if match is None:
            return np.empty(0, np.int32), np.empty(0, np.float32)
        score = match.score[match.order]
        return first_allowed(match.rows[match.order], match.grade[match.order] + score / (score + HALF), query, k=k)

    def narrowed(self, query: Query) -> Query:
        """The query among what answers it: the best grades that hold ENOUGH items, so that every source ranks those.

        As it was where nothing that is allowed answers: then the answer is a fallback.
        """
        match = self._match(query)
        if match is None:
            return query
        known = match.rows if query.allowed is None else match.rows[query.allowed[match.rows]]
        if not len(known):
            return query
        grade = match.of(known, match.grade)
        left = np.bincount(grade[~np.isin(known, query.exclude)])[::-1].cumsum()
        lowest = len(left) - 1 - int(np.searchsorted(left, ENOUGH)) if len(left) else 1
        allowed = np.zeros(self._index.rows if query.allowed is None else len(query.allowed), bool)
        allowed[known[grade >= lowest]] = True
        return replace(query, allowed=allowed)

    def _match(self, query: Query) -> TextMatch | None:
        return None if query.text is None else self._index.match(query.text)
