"""Adaptive information transfer: a task also reads what the task made of its condition, as much as it pays.

    bottom_t  = relu(relu(first_t) @ W_t + b_t)
    carried_t = task_source(t) @ C_t + c_t
    task_t    = sum over u in (carried_t, bottom_t) of share_u * value_t(u), or bottom_t without a source
    share_u   = softmax over u of <query_t(u), key_t(u)> / sqrt(units)

A click's task is carried to the order's, the order's to its value. Heads stay conditional (cvr is given a click), and
ctcvr is their product: it never exceeds ctr, so that the paper's penalty for that is not needed.
Source: Xi et al. 2021, Modeling the Sequential Dependence among Audience Multi-step Conversions, equations 2-5.
"""

from __future__ import annotations

import numpy as np

from features.keras2 import keras
from features.keras2 import tensorflow as tf
from value_model.rankers.bodies import BodyColumns, Mixture, Sources, dropped, he
from value_model.rankers.config import NetworkConfig


class InformationTransfer(keras.layers.Layer):
    """A bottom of `config.expert_units` a task, and a transfer a task that has a source; follows `Body`."""

    def __init__(self, config: NetworkConfig, sources: Sources, *, rng: np.random.Generator) -> None:
        super().__init__(name="information_transfer")
        self._shape, self._sources = config, tuple(sources)
        tasks, outer = len(sources), config.expert_units[1]
        self.expert = tf.Variable(he(rng, (tasks, *config.expert_units)), name="expert")
        self.expert_bias = tf.Variable(np.zeros((tasks, 1, outer), np.float32), name="expert_bias")
        # Of each task: the carrying layer, then value, query and key.
        self.transfer = tf.Variable(
            rng.normal(0, outer**-0.5, (tasks, 4, outer, outer)), dtype=tf.float32, name="transfer"
        )
        self.transfer_bias = tf.Variable(np.zeros((tasks, 4, 1, outer), np.float32), name="transfer_bias")

    @staticmethod
    def columns(config: NetworkConfig, tasks: int) -> BodyColumns:
        return BodyColumns(hidden=tasks * config.expert_units[0], gates=0)

    def call(self, hidden: tf.Tensor, gates: tf.Tensor, seed: tf.Tensor | None) -> Mixture:
        count, rate = len(self._sources), self._shape.dropout
        hidden = dropped(tf.nn.relu(tf.reshape(hidden, [-1, count, self._shape.expert_units[0]])), rate, seed, layer=0)
        hidden = tf.nn.relu(tf.matmul(tf.transpose(hidden, [1, 0, 2]), self.expert) + self.expert_bias)
        bottoms = dropped(hidden, rate, seed, layer=1)
        tasks = {}
        for task in source_first(self._sources):
            source = self._sources[task]
            tasks[task] = (bottoms[task], tf.ones_like(bottoms[task, :, :1]))
            if source is not None:
                tasks[task] = self._transferred(tasks[source][0], bottoms[task], task)
        states, shares = zip(*(tasks[task] for task in range(count)), strict=True)
        return Mixture(tf.stack(states), tf.transpose(bottoms, [1, 0, 2]), shares)

    def _transferred(self, source: tf.Tensor, bottom: tf.Tensor, task: int) -> tuple[tf.Tensor, tf.Tensor]:
        """The task's inputs [N, units], and the shares [N, 2] of what is carried and of its bottom."""
        weights, biases = self.transfer[task], self.transfer_bias[task]
        both = tf.stack([tf.matmul(source, weights[0]) + biases[0], bottom])
        value, query, key = (tf.matmul(both, weights[part]) + biases[part] for part in (1, 2, 3))
        fit = tf.reduce_sum(query * key, axis=2) * float(self._shape.expert_units[1]) ** -0.5
        share = tf.nn.softmax(fit, axis=0)
        return tf.reduce_sum(share[:, :, None] * value, axis=0), tf.transpose(share)


def source_first(sources: Sources) -> list[int]:
    """The tasks in an order in which every source stands before what it is carried to."""

    def depth(task: int) -> int:
        source = sources[task]
        return 0 if source is None else 1 + depth(source)

    return sorted(range(len(sources)), key=depth)
