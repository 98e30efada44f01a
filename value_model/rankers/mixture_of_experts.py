"""The multi-gate mixture of experts: each task has a mixture of its own of experts that all tasks share.

    expert_e = relu(relu(first_e) @ W_e + b_e)         task_t = sum_e softmax(gate_t)_e * expert_e

Source: Ma et al. 2018, Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts, eq. 5-7.
"""

from __future__ import annotations

import numpy as np

from features.keras2 import keras
from features.keras2 import tensorflow as tf
from value_model.rankers.bodies import BodyColumns, Mixture, Sources, dropped, he
from value_model.rankers.config import NetworkConfig


class MixtureOfExperts(keras.layers.Layer):
    """`config.experts` experts of `config.expert_units`, and a gate a task; follows `Body`."""

    def __init__(self, config: NetworkConfig, sources: Sources, *, rng: np.random.Generator) -> None:
        super().__init__(name="mixture_of_experts")
        self._shape, self._tasks = config, len(sources)
        self.expert = tf.Variable(he(rng, (config.experts, *config.expert_units)), name="expert")
        self.expert_bias = tf.Variable(
            np.zeros((config.experts, 1, config.expert_units[1]), np.float32), name="expert_bias"
        )

    @staticmethod
    def columns(config: NetworkConfig, tasks: int) -> BodyColumns:
        return BodyColumns(hidden=config.experts * config.expert_units[0], gates=tasks * config.experts)

    def call(self, hidden: tf.Tensor, gates: tf.Tensor, seed: tf.Tensor | None) -> Mixture:
        count, (inner, outer) = self._shape.experts, self._shape.expert_units
        hidden = dropped(tf.nn.relu(tf.reshape(hidden, [-1, count, inner])), self._shape.dropout, seed, layer=0)
        hidden = tf.matmul(tf.transpose(hidden, [1, 0, 2]), self.expert) + self.expert_bias
        hidden = dropped(tf.nn.relu(hidden), self._shape.dropout, seed, layer=1)
        experts = tf.transpose(hidden, [1, 0, 2])
        share = tf.nn.softmax(tf.reshape(gates, [-1, self._tasks, count]), axis=2)
        tasks = tf.transpose(tf.reshape(tf.matmul(share, experts), [-1, self._tasks, outer]), [1, 0, 2])
        return Mixture(tasks, experts, tf.unstack(share, axis=1))
