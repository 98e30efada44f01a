"""A forest as tables by which rows are scored without a walk down its trees (QuickScorer).

Every value of a column falls into a bin between two of the forest's thresholds, and a bin decides all splits of its
column at once. So a column has one table, [bins, words], of the leaves that these decisions leave possible, a bit each:

    possible[n] = table_1[bin of x_n1] & table_2[bin of x_n2] & ...      of a tree one bit is left: the exit leaf
    score[n]    = sum over trees of leaf value[tree, that bit]

A tree with more than WORD leaves takes several words, of which one keeps a bit. Leaf values are summed as multiples of
2^-FRACTION, so that the sum does not depend on its order. What belongs to a single request is looked up once.
Source: Lucchese et al. 2015, QuickScorer: A Fast Algorithm to Rank Documents with Additive Ensembles of Regression
Trees; here both sides of a split clear bits, so that no lowest bit has to be found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from value_model.rankers.forest import Forest, Place, Split

WORD = 31  # leaves a word
FRACTION = 40  # binary places of a leaf value
TILE = 512  # rows scored at a time
EXPONENT, BIAS = 23, 126  # of a float32 2^k: its bits >> EXPONENT are BIAS + 1 + k


@dataclass(frozen=True, eq=False)
class ColumnTable:
    """One column's bins and the words that each leaves possible, int32 [bins, words].

    Numbers: bin = how many `thresholds` lie below, the last bin = missing. The thresholds end with infinity, behind
    which a missing number (NaN) is sorted. Categories (None): bin = code, the last bin = every code that no split
    names.
    """

    place: Place
    thresholds: np.ndarray | None
    words: np.ndarray

    @property
    def last(self) -> int:
        return len(self.words) - 1

    def bins(self, packed: np.ndarray) -> np.ndarray:
        """int [n] of a packed input's rows."""
        values = packed[:, self.place.column]
        if self.thresholds is None:
            return np.minimum(values, self.last)
        return self.thresholds.searchsorted(values)


@dataclass(frozen=True, eq=False)
class ForestTables:
    """Leaf values, int64 [words, WORD] in multiples of 2^-FRACTION, and the tables of all columns that are tested."""

    leaf_values: np.ndarray
    columns: tuple[ColumnTable, ...]

    def score(self, packed: Mapping[str, np.ndarray]) -> np.ndarray:
        """float64 [N], from packed inputs by name."""
        first, bins = np.full(len(self.leaf_values), -1, np.int32), []
        for table in self.columns:
            looked_up = table.bins(packed[table.place.packed])
            if not table.place.packed.startswith("user"):
                bins.append((table.words, looked_up))
            elif len(looked_up) == 1:
                first &= table.words[looked_up[0]]
            else:
                bins.append((table.words, looked_up[packed["request"]]))
        total = np.empty(len(packed["request"]), np.int64)
        for start in range(0, len(total), TILE):
            part = total[start : start + TILE]
            possible = np.tile(first, (len(part), 1))
            words = np.empty_like(possible)
            for table_words, bin_of in bins:
                np.take(table_words, bin_of[start : start + TILE], axis=0, out=words, mode="clip")
                possible &= words
            part[:] = self._exits(possible)
        return total * 2.0**-FRACTION

    def _exits(self, possible: np.ndarray) -> np.ndarray:
        """int64 [n]: the sum of the leaves that are left in words [n, words]; a word without one adds nothing."""
        place = possible.astype(np.float32).view(np.int32)
        place >>= EXPONENT
        place -= BIAS
        np.maximum(place, 0, out=place)
        place += np.arange(0, self._slots.size, WORD + 1, dtype=np.int32)
        return self._slots.ravel().take(place).sum(axis=1)

    @cached_property
    def _slots(self) -> np.ndarray:
        """int64 [words, 1 + WORD]: nothing, then the leaf values."""
        return np.pad(self.leaf_values, ((0, 0), (1, 0)))


def forest_tables(forest: Forest, places: Sequence[Place]) -> ForestTables:
    """The tables of a forest; `places[c]` is where its column c comes from."""
    trees = [_leaves(root) for root in forest]
    first_word = np.append(0, np.cumsum([-(-len(leaves) // WORD) for leaves, _ in trees]))
    leaf_values = np.zeros((first_word[-1], WORD), np.int64)
    every = np.zeros(first_word[-1], np.int64)  # all leaves of each word
    by_column: dict[int, list[Test]] = {}
    for (leaves, tests), start in zip(trees, first_word[:-1], strict=True):
        for leaf, value in enumerate(leaves):
            word, bit = start + leaf // WORD, leaf % WORD
            leaf_values[word, bit] = round(value * 2**FRACTION)
            every[word] |= 1 << bit
        for split, left, right in tests:
            by_column.setdefault(split.column, []).append((split, int(start), left, right))
    columns = [_table(tests, places[column], every) for column, tests in sorted(by_column.items())]
    return ForestTables(leaf_values, tuple(columns))


Test = tuple[Split, int, range, range]  # a split, its tree's first word, the leaves on its left and on its right


def _leaves(root: Split) -> tuple[list[float], list[tuple[Split, range, range]]]:
    """A tree's leaf values from left to right, and each split with the leaves on its left and on its right."""
    leaves: list[float] = []
    tests: list[tuple[Split, range, range]] = []

    def walk(branch: Split | float) -> range:
        first = len(leaves)
        if isinstance(branch, Split):
            tests.append((branch, walk(branch.left), walk(branch.right)))
        else:
            leaves.append(branch)
        return range(first, len(leaves))

    walk(root)
    return leaves, tests


def _table(tests: Sequence[Test], place: Place, every: np.ndarray) -> ColumnTable:
    if place.is_category:
        thresholds = None
        bins = 1 + max(max(split.members or (-1,)) + 1 for split, *_ in tests)
    else:
        edges = np.unique(np.array([split.threshold for split, *_ in tests], np.float32))
        thresholds = np.append(edges, np.float32(np.inf))
        bins = len(thresholds) + 1
    words = np.tile(every, (bins, 1))
    for split, start, left, right in tests:
        goes_left = _goes_left(split, thresholds, len(words))
        for leaves, stay in ((left, ~goes_left), (right, goes_left)):  # clear left leaves where a bin goes right
            for word in range(leaves.start // WORD, (leaves.stop - 1) // WORD + 1):
                bits = sum(1 << leaf % WORD for leaf in leaves if leaf // WORD == word)
                words[stay, start + word] &= ~bits
    return ColumnTable(place, thresholds, words.astype(np.int32))


def _goes_left(split: Split, thresholds: np.ndarray | None, bins: int) -> np.ndarray:
    """bool [bins]: where a split sends each bin of its column."""
    if thresholds is None:
        return np.isin(np.arange(bins), split.members or ())
    left = np.arange(bins) <= np.searchsorted(thresholds, np.float32(split.threshold))
    left[-1] = split.missing_left
    return left
