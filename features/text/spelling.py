"""Spelling: the known words nearest to an unknown one, by edits: insert, drop, exchange, or swap two letters."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from rapidfuzz import process
from rapidfuzz.distance import OSA

FEWEST_LETTERS = 3  # a shorter word is near to too many
TWO_EDITS = 8  # letters from which on two edits are a slip of the pen
MOST = 64  # words


def near(word: str, by_length: Mapping[int, Mapping[int, str]]) -> np.ndarray:
    """int64: places of the words with the fewest edits, at most one, or two of a long word; none of a number.

    `by_length`: place and word, by the number of letters.
    """
    if len(word) < FEWEST_LETTERS or word.isdigit():
        return np.empty(0, np.int64)
    edits = 2 if len(word) >= TWO_EDITS else 1
    hits = [
        hit
        for length in range(len(word) - edits, len(word) + edits + 1)
        for hit in process.extract(word, by_length.get(length, {}), scorer=OSA.distance, score_cutoff=edits, limit=MOST)
    ]
    fewest = min((distance for _, distance, _ in hits), default=0)
    return np.array([place for _, distance, place in hits if distance == fewest], np.int64)
