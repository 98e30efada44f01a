"""The shared bottom: what every task reads is the same.

    task_t = relu(relu(first) @ W + b)

As wide, in its first layer, as all experts of a mixture together: the same number of weights but for the gates.
Source: Caruana 1997, Multitask Learning, section 2.
"""

from __future__ import annotations

import numpy as np

from features.keras2 import keras
from features.keras2 import tensorflow as tf
from value_model.rankers.bodies import BodyColumns, Mixture, Sources, dropped, he
from value_model.rankers.config import NetworkConfig


class SharedBottom(keras.layers.Layer):
    """One expert for all tasks; follows `Body`."""

    def __init__(self, config: NetworkConfig, sources: Sources, *, rng: np.random.Generator) -> None:
        super().__init__(name="shared_bottom")
        self._dropout, self._tasks = config.dropout, len(sources)
        width, outer = self.columns(config, len(sources)).hidden, config.expert_units[1]
        self.expert = tf.Variable(he(rng, (width, outer)), name="expert")
        self.expert_bias = tf.Variable(np.zeros(outer, np.float32), name="expert_bias")

    @staticmethod
    def columns(config: NetworkConfig, tasks: int) -> BodyColumns:
        return BodyColumns(hidden=config.experts * config.expert_units[0], gates=0)

    def call(self, hidden: tf.Tensor, gates: tf.Tensor, seed: tf.Tensor | None) -> Mixture:
        hidden = dropped(tf.nn.relu(hidden), self._dropout, seed, layer=0)
        hidden = dropped(tf.nn.relu(tf.matmul(hidden, self.expert) + self.expert_bias), self._dropout, seed, layer=1)
        every = tf.ones_like(hidden[:, :1])
        return Mixture(tf.tile(hidden[None], [self._tasks, 1, 1]), hidden[:, None], [every] * self._tasks)
