"""Group encoder: the dense vector of one group of features."""

from __future__ import annotations

from features.history_columns import NAMES
from features.keras2 import keras
from features.keras2 import tensorflow as tf
from features.layers.numbers import NumberEncoder
from features.layers.sequences import HistoryEncoder
from features.layers.tables import EmbeddingTables
from features.spec import FeatureSpec, Group, Kind


class GroupEncoder(keras.layers.Layer):
    """One group's categories, lists and numbers as a dense vector [B, width]."""

    def __init__(
        self,
        spec: FeatureSpec,
        group: Group,
        tables: EmbeddingTables,
        *,
        bins: int,
        history: HistoryEncoder | None = None,
    ) -> None:
        """`history` reads the lists that are of the user's history; None = they are averaged as all others."""
        super().__init__(name=f"{group.value}_encoder")
        self._categories = spec.select(group, Kind.CATEGORY)
        self._lists = spec.select(group, Kind.CATEGORIES)
        self._averaged = [f for f in self._lists if history is None or f.name not in NAMES]
        self._tables, self._history = tables, history
        self.numbers = NumberEncoder(spec.select(group, Kind.NUMBER), bins=bins, name=f"{group.value}_numbers")
        self.width = tables.width * (len(self._categories) + len(self._averaged)) + self.numbers.width
        self.width += 0 if history is None else history.width

    def call(self, codes: tf.Tensor, lists: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
        parts = [self._tables(codes[:, column], feature) for column, feature in enumerate(self._categories)]
        start = 0
        for feature in self._lists:
            if feature in self._averaged:
                parts.append(self._tables.pooled(lists[:, start : start + feature.length], feature))
            start += feature.length
        if self._history is not None:
            parts.append(self._history(lists))
        if self.numbers.width:
            parts.append(self.numbers(numbers))
        return tf.concat(parts, axis=1) if parts else tf.zeros([tf.shape(codes)[0], 0])
