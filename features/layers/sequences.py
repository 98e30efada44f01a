"""Sequence encoders: the history of a request as one vector [B, units]; which one, a `SequenceShape` says."""

from __future__ import annotations

import numpy as np

from features.keras2 import keras
from features.keras2 import tensorflow as tf
from features.layers.attention_pooling import AttentionPooling
from features.layers.causal_transformer import CausalTransformer
from features.layers.gated_recurrent import GatedRecurrent
from features.layers.history_steps import HistorySteps
from features.layers.sequence_shape import SequenceShape
from features.layers.tables import EmbeddingTables
from features.spec import FeatureSpec


def history_encoder(
    spec: FeatureSpec, tables: EmbeddingTables, *, shape: SequenceShape, rng: np.random.Generator
) -> HistoryEncoder | None:
    """What a group encoder is given: None where the lists of the history are averaged, as they are beside DIN too."""
    return None if shape.kind in ("mean", "din") else HistoryEncoder(spec, tables, shape=shape, rng=rng)


class HistoryEncoder(keras.layers.Layer):
    """Steps, and what reads them; zeros of an empty history."""

    def __init__(
        self, spec: FeatureSpec, tables: EmbeddingTables, *, shape: SequenceShape, rng: np.random.Generator
    ) -> None:
        super().__init__(name="history_encoder")
        self.width = shape.units
        self._steps = HistorySteps(spec, tables, units=shape.units, rng=rng)
        self._reader = _reader(shape, length=self._steps.length, rng=rng)

    def call(self, lists: tf.Tensor) -> tf.Tensor:
        return self._reader(*self._steps(lists))


def _reader(shape: SequenceShape, *, length: int, rng: np.random.Generator) -> keras.layers.Layer:
    if shape.kind in ("transformer", "ligr"):
        return CausalTransformer(shape, length=length, rng=rng)
    return {"attention": AttentionPooling, "gru": GatedRecurrent}[shape.kind](shape.units, rng=rng)
