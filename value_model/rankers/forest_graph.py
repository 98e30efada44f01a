"""A forest as TensorFlow operations, without a loop over the depth of its trees (QuickScorer).

Every value of a column falls into a bin between two of the forest's thresholds, and a bin decides all splits of its
column at once. So a column has one table, [bins, trees], of the leaves that these decisions leave possible, a bit each:

    possible[n] = table_1[bin of x_n1] & table_2[bin of x_n2] & ...      exactly one bit is left: the exit leaf
    score[n]    = sum over trees of leaf value[tree, that bit]

A tree with more than WORD leaves takes several words, of which one keeps a bit. Leaf values are summed as multiples of
2^-FRACTION, so that the sum does not depend on its order. What belongs to a request is looked up once a request.
Source: Lucchese et al. 2015, QuickScorer: A Fast Algorithm to Rank Documents with Additive Ensembles of Regression
Trees; here both sides of a split clear bits, so that no lowest bit has to be found.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from features.keras2 import tensorflow as tf
from value_model.rankers.forest import Forest, Place, Split

WORD = 31  # leaves a word
SLOTS = 37  # 2^k mod 37 differs for every bit of a word, and from 0
FRACTION = 40  # binary places of a leaf value


@dataclass(frozen=True)
class ColumnTable:
    """One column's bins and the words that each leaves possible, int32 [bins, words].

    Numbers: bin = how many `thresholds` lie below, the last bin = missing. Categories (None): bin = code, the last bin
    = every code that no split names.
    """

    place: Place
    thresholds: np.ndarray | None
    words: np.ndarray

    @property
    def last(self) -> int:
        return len(self.words) - 1


class ForestGraph:
    """`places[c]` is where the matrix's column c comes from."""

    def __init__(self, forest: Forest, places: Sequence[Place]) -> None:
        self._leaf_values, tables = column_tables(forest, places)
        self._inputs: dict[str, list[ColumnTable]] = {}
        for table in tables:
            self._inputs.setdefault(table.place.packed, []).append(table)

    def score(self, packed: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """float64 [N] from packed inputs by name, `request` among them."""
        possible = []
        for name, tables in self._inputs.items():
            bins = _number_bins if tables[0].thresholds is not None else _category_bins
            looked_up = zip(tables, bins(packed[name], tables), strict=True)
            words = functools.reduce(tf.bitwise.bitwise_and, [tf.gather(t.words, of_row) for t, of_row in looked_up])
            possible.append(tf.gather(words, packed["request"]) if name.startswith("user") else words)
        exits = tf.math.floormod(functools.reduce(tf.bitwise.bitwise_and, possible), SLOTS)
        slots = exits + np.arange(len(self._leaf_values), dtype=np.int32) * SLOTS
        total = tf.reduce_sum(tf.gather(self._leaf_values.ravel(), slots), axis=1)
        return tf.cast(total, tf.float64) * 2.0**-FRACTION


def column_tables(forest: Forest, places: Sequence[Place]) -> tuple[np.ndarray, list[ColumnTable]]:
    """Leaf values, int64 [words, SLOTS] in multiples of 2^-FRACTION, and the tables of all columns that are tested."""
    trees = [_leaves(root) for root in forest]
    first_word = np.append(0, np.cumsum([-(-len(leaves) // WORD) for leaves, _ in trees]))
    leaf_values = np.zeros((first_word[-1], SLOTS), np.int64)
    every = np.zeros(first_word[-1], np.int64)  # all leaves of each word
    for (leaves, _), start in zip(trees, first_word[:-1], strict=True):
        for number, value in enumerate(leaves):
            word, bit = start + number // WORD, number % WORD
            leaf_values[word, pow(2, bit, SLOTS)] = round(value * 2**FRACTION)
            every[word] |= 1 << bit
    by_column: dict[int, list[tuple[Split, int, range, range]]] = {}
    for (_, tests), start in zip(trees, first_word[:-1], strict=True):
        for split, left, right in tests:
            by_column.setdefault(split.column, []).append((split, int(start), left, right))
    return leaf_values, [_table(tests, places[column], every) for column, tests in sorted(by_column.items())]


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


def _table(tests: list[tuple[Split, int, range, range]], place: Place, every: np.ndarray) -> ColumnTable:
    if place.is_category:
        thresholds = None
        bins = 1 + max(max(split.members or (-1,)) + 1 for split, *_ in tests)
    else:
        thresholds = np.unique(np.array([split.threshold for split, *_ in tests], np.float32))
        bins = len(thresholds) + 2
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


def _number_bins(values: tf.Tensor, tables: Sequence[ColumnTable]) -> list[tf.Tensor]:
    """int32 [rows] a table."""
    thresholds = [table.thresholds for table in tables if table.thresholds is not None]
    padded = np.full((len(thresholds), max(map(len, thresholds))), np.inf, np.float32)
    for row, some in zip(padded, thresholds, strict=True):
        row[: len(some)] = some
    columns = tf.transpose(tf.gather(values, [table.place.column for table in tables], axis=1))
    below = tf.searchsorted(tf.constant(padded), columns, side="left")
    missing = np.array([[table.last] for table in tables], np.int32)
    return tf.unstack(tf.where(tf.math.is_nan(columns), missing, below), num=len(tables))


def _category_bins(codes: tf.Tensor, tables: Sequence[ColumnTable]) -> list[tf.Tensor]:
    return [tf.minimum(codes[:, table.place.column], table.last) for table in tables]
