"""Tables of a forest as TensorFlow operations: the twin of `ForestTables.score`, for rows of any number of requests."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import numpy as np

from features.keras2 import tensorflow as tf
from value_model.rankers.forest_tables import FRACTION, WORD, ForestTables, PackedColumns

SLOTS = 37  # 2^k mod 37 differs for every bit of a word, and from 0


class ForestGraph:
    """Looks up in `tables`; what belongs to a request is looked up once a request."""

    def __init__(self, tables: ForestTables) -> None:
        slots = [pow(2, bit, SLOTS) for bit in range(WORD)]
        self._leaf_values = np.zeros((len(tables.leaf_values), SLOTS), np.int64)
        self._leaf_values[:, slots] = tables.leaf_values
        self._inputs = tables.inputs

    def score(self, packed: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """float64 [N] from packed inputs by name, `request` among them."""
        possible = []
        for name, part in self._inputs.items():
            looked_up = zip(part.tables, tf.unstack(_bins(packed[name], part), num=len(part.tables)), strict=True)
            words = functools.reduce(tf.bitwise.bitwise_and, [tf.gather(t.words, of_row) for t, of_row in looked_up])
            possible.append(tf.gather(words, packed["request"]) if name.startswith("user") else words)
        exits = tf.math.floormod(functools.reduce(tf.bitwise.bitwise_and, possible), SLOTS)
        slots = exits + np.arange(len(self._leaf_values), dtype=np.int32) * SLOTS
        total = tf.reduce_sum(tf.gather(self._leaf_values.ravel(), slots), axis=1)
        return tf.cast(total, tf.float64) * 2.0**-FRACTION


def _bins(packed: tf.Tensor, part: PackedColumns) -> tf.Tensor:
    """int32 [C, rows]."""
    values = tf.transpose(tf.gather(packed, part.columns, axis=1))
    if part.thresholds is None:
        return tf.minimum(values, part.last)
    below = tf.searchsorted(tf.constant(part.thresholds), values, side="left")
    return tf.where(tf.math.is_nan(values), part.last, below)
