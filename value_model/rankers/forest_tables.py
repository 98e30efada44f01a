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
TILE = 2**16  # words scored at a time: the 8 bytes that a column reads and writes of each stay in a core's L2 cache
EXPONENT, BIAS = 23, 126  # of a float32 2^k: its bits >> EXPONENT are BIAS + 1 + k


@dataclass(frozen=True, eq=False)
class ColumnTable:
    """One column's bins and the words that each leaves possible, int32 [bins, words].

    Numbers: bin = how many `thresholds` lie below, the last bin = missing (NaN); the thresholds end with infinity.
    Categories (None): bin = code, the last bin = every code that no split names.
    """

    place: Place
    thresholds: np.ndarray | None
    words: np.ndarray


@dataclass(frozen=True, eq=False)
class PackedColumns:
    """The tables of one packed input's columns, C of them, whose values are sorted into bins together."""

    tables: tuple[ColumnTable, ...]

    @cached_property
    def columns(self) -> list[int]:
        return [table.place.column for table in self.tables]

    @cached_property
    def last(self) -> np.ndarray:
        """int32 [C, 1]: each column's last bin."""
        return np.array([[len(table.words) - 1] for table in self.tables], np.int32)

    @cached_property
    def thresholds(self) -> np.ndarray | None:
        """float32 [C, 2^k], a row ends in at least one infinity; of categories None."""
        edges = [table.thresholds for table in self.tables if table.thresholds is not None]
        if not edges:
            return None
        padded = np.full((len(edges), 1 << (max(map(len, edges)) - 1).bit_length()), np.inf, np.float32)
        for row, some in zip(padded, edges, strict=True):
            row[: len(some)] = some
        return padded

    def bins(self, packed: np.ndarray) -> np.ndarray:
        """int [C, n] of a packed input's rows: a binary search of k steps, each of all columns and rows at once."""
        values = packed.T[self.columns]
        if self.thresholds is None:
            return np.minimum(values, self.last)
        before = np.arange(0, self.thresholds.size, step := self.thresholds.shape[1])[:, None] - 1
        lower = np.tile(before, values.shape[1])  # the last threshold that is known to lie below
        while step := step // 2:
            lower += step * (self.thresholds.take(lower + step) < values)
        return np.where(np.isnan(values), self.last, lower - before)


@dataclass(frozen=True, eq=False)
class ForestTables:
    """Leaf values, int64 [words, WORD] in multiples of 2^-FRACTION, and the tables of all columns that are tested."""

    leaf_values: np.ndarray
    columns: tuple[ColumnTable, ...]

    @cached_property
    def inputs(self) -> dict[str, PackedColumns]:
        """The columns by packed input."""
        names = dict.fromkeys(table.place.packed for table in self.columns)
        return {name: PackedColumns(tuple(t for t in self.columns if t.place.packed == name)) for name in names}

    def score(self, packed: Mapping[str, np.ndarray]) -> np.ndarray:
        """float64 [N], from packed inputs by name."""
        first, bins = np.full(len(self.leaf_values), -1, np.int32), []
        for name, columns in self.inputs.items():
            of_column, once = columns.bins(packed[name]), name.startswith("user")
            if once and of_column.shape[1] != 1:
                of_column, once = of_column[:, packed["request"]], False
            for table, of_rows in zip(columns.tables, of_column, strict=True):
                if once:
                    first &= table.words[of_rows[0]]
                else:
                    bins.append((table.words, of_rows))
        total = np.empty(len(packed["request"]), np.int64)
        rows = 1 + len(total) // (1 + len(total) * len(first) // TILE)
        scratch = np.empty((2, rows, len(first)), np.int64)
        for start in range(0, len(total), rows):
            part = total[start : start + rows]
            slots, values = scratch[:, : len(part)]
            possible, words = values.view(np.int32).reshape(2, *values.shape)  # no longer read when values are written
            possible[:] = first
            for table_words, of_rows in bins:
                table_words.take(of_rows[start : start + rows], axis=0, out=words, mode="clip")
                possible &= words
            words.view(np.float32)[:] = possible
            words >>= EXPONENT
            np.maximum(words, BIAS, out=words)  # a word without a leaf adds nothing
            np.add(words, self._slot_of_none, out=slots)
            self._slots.take(slots, out=values, mode="clip")
            values.sum(axis=1, out=part)
        return total * 2.0**-FRACTION

    @cached_property
    def _slots(self) -> np.ndarray:
        """int64 [words * (1 + WORD)]: of each word nothing, then its leaf values."""
        return np.pad(self.leaf_values, ((0, 0), (1, 0))).ravel()

    @cached_property
    def _slot_of_none(self) -> np.ndarray:
        """int32 [words]: the first slot of each, less BIAS."""
        return np.arange(0, self._slots.size, 1 + WORD, dtype=np.int32) - BIAS


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
