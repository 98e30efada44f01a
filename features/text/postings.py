"""Postings: which documents hold a term, and what the term weighs there; the words whose term it is.

A term is the light stem of words. Term t holds `rows[start[t]:start[t + 1]]`, sorted, with its weights (BM25, summed
over fields) and whether a strong field holds it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from features.text.light_stems import stem
from features.text.spelling import near

LAST_LETTER = "\U0010ffff"


@dataclass(frozen=True, eq=False)
class Postings:
    """Over W sorted `words`, T terms and E entries."""

    words: Sequence[str]
    term: np.ndarray  # int32 [W]
    start: np.ndarray  # int64 [T + 1]
    rows: np.ndarray  # int32 [E]
    weights: np.ndarray  # float32 [E]
    strong: np.ndarray  # bool [E]

    @property
    def terms(self) -> int:
        return len(self.start) - 1

    def of(self, term: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(rows, weights, strong) of one term."""
        part = slice(self.start[term], self.start[term + 1])
        return self.rows[part], self.weights[part], self.strong[part]

    def exact(self, word: str) -> list[int]:
        """The term of a word: none where no document holds it, under any ending."""
        term = self._by_word.get(word)
        if term is None:
            term = self._by_stem.get(stem(word))
        return [] if term is None else [term]

    def beginning(self, letters: str, *, most: int) -> list[int]:
        """Terms of words that begin with `letters`, the most frequent first."""
        first, last = bisect_left(self.words, letters), bisect_left(self.words, letters + LAST_LETTER)
        return self._frequent(np.unique(self.term[first:last]), most)

    def spelt_near(self, word: str, *, most: int) -> list[int]:
        """Terms of the words nearest in spelling, the most frequent first."""
        places = near(word, self._by_length)
        if not len(places):
            places = near(stem(word), self._by_length)
        return self._frequent(np.unique(self.term[places]), most)

    def _frequent(self, terms: np.ndarray, most: int) -> list[int]:
        held = self.start[terms + 1] - self.start[terms]
        return terms[np.argsort(-held, kind="stable")[:most]].tolist()

    @cached_property
    def _by_word(self) -> dict[str, int]:
        return dict(zip(self.words, self.term.tolist(), strict=True))

    @cached_property
    def _by_stem(self) -> dict[str, int]:
        return {stem(word): term for word, term in zip(self.words, self.term.tolist(), strict=True)}

    @cached_property
    def _by_length(self) -> dict[int, dict[int, str]]:
        """Place and word, by the number of letters."""
        lengths: dict[int, dict[int, str]] = {}
        for place, word in enumerate(self.words):
            lengths.setdefault(len(word), {})[place] = word
        return lengths
