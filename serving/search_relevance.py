"""Search relevance: how well the candidates of one search answer its words, for the choice, the answer and the log."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from features.text.text_match import TextMatch
from marketplace.schema import MATCH_KEY, QUERY_WORDS_KEY, RELEVANCE_GRADES


@dataclass(frozen=True, eq=False)
class SearchRelevance:
    """`words` of the search in normal form; `grade` float32 [n] of the candidates (RELEVANCE_GRADES, 0 = none)."""

    words: str
    grade: np.ndarray

    @classmethod
    def of(cls, match: TextMatch, rows: np.ndarray) -> SearchRelevance:
        """Of catalogue rows int32 [n]."""
        return cls(" ".join(match.words), match.of(rows, match.grade).astype(np.float32))

    def only(self, kept: np.ndarray) -> SearchRelevance:
        """Of the candidates at the positions `kept`."""
        return SearchRelevance(self.words, self.grade[kept])

    def entries(self, shown: np.ndarray) -> dict[str, str]:
        """What the slate's context says of the search, whose positions `shown` are on the page.

        `match` is all (some item answers every word), part, or none: then the answer is a fallback.
        """
        best = self.grade[shown].max(initial=0)
        match = "all" if best >= RELEVANCE_GRADES["nearly"] else "part" if best > 0 else "none"
        return {QUERY_WORDS_KEY: self.words, MATCH_KEY: match}
