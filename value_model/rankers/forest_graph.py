"""Tables of a forest as TensorFlow operations: the twin of `ForestTables.score`, for rows of any number of requests."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import numpy as np

from features.keras2 import tensorflow as tf
from value_model.rankers.forest_tables import FRACTION, WORD, ColumnTable, ForestTables

SLOTS = 37  # 2^k mod 37 differs for every bit of a word, and from 0


class ForestGraph:
    """Looks up in `tables`; what belongs to a request is looked up once a request."""

    def __init__(self, tables: ForestTables) -> None:
        slots = [pow(2, bit, SLOTS) for bit in range(WORD)]
        self._leaf_values = np.zeros((len(tables.leaf_values), SLOTS), np.int64)
        self._leaf_values[:, slots] = tables.leaf_values
        self._inputs: dict[str, list[ColumnTable]] = {}
        for table in tables.columns:
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
