"""Progressive layered extraction: beside the experts that all tasks share, experts of each task alone, by levels.

    level 1    expert_e = relu(relu(first_e) @ W_e + b_e)           a group of experts a task, and the shared group
    level l    expert_e = relu(mixture_g @ W_e + b_e)               g: the group of e
    mixture_g  = sum_e softmax(gate_g)_e * expert_e                 of a task's own and the shared; of shared: all

Source: Tang et al. 2020, Progressive Layered Extraction, sections 4.1 (customized gate control) and 4.2 (levels).
"""

from __future__ import annotations

import numpy as np

from features.keras2 import keras
from features.keras2 import tensorflow as tf
from value_model.rankers.bodies import BodyColumns, Mixture, Sources, dropped, he
from value_model.rankers.config import NetworkConfig

UNSEEN = -1e9  # a gate's logit for an expert that it cannot see: its share is exactly 0


class ProgressiveExtraction(keras.layers.Layer):
    """`config.levels` levels, each of `config.task_experts` experts a task and `config.experts` shared; a `Body`."""

    def __init__(self, config: NetworkConfig, sources: Sources, *, rng: np.random.Generator) -> None:
        super().__init__(name="progressive_extraction")
        self._shape, self._tasks = config, len(sources)
        self._group = groups(config, self._tasks)
        (inner, outer), count = config.expert_units, len(self._group)
        mine = self._group == np.arange(self._tasks + 1)[:, None]
        self._sees = mine | mine[-1:] | (np.arange(self._tasks + 1) == self._tasks)[:, None]
        widths = [inner] + [outer] * (config.levels - 1)
        self.expert = [
            tf.Variable(he(rng, (count, width, outer)), name=f"expert_{level}") for level, width in enumerate(widths)
        ]
        self.expert_bias = [
            tf.Variable(np.zeros((count, 1, outer), np.float32), name=f"expert_{level}_bias")
            for level in range(config.levels)
        ]
        self.gate = [
            tf.Variable(np.zeros((self._gates(level), outer, count), np.float32), name=f"gate_{level}")
            for level in range(1, config.levels)
        ]

    @staticmethod
    def columns(config: NetworkConfig, tasks: int) -> BodyColumns:
        count = len(groups(config, tasks))
        return BodyColumns(hidden=count * config.expert_units[0], gates=(tasks + (config.levels > 1)) * count)

    def call(self, hidden: tf.Tensor, gates: tf.Tensor, seed: tf.Tensor | None) -> Mixture:
        count, rate = len(self._group), self._shape.dropout
        taken = dropped(tf.nn.relu(tf.reshape(hidden, [-1, count, self._shape.expert_units[0]])), rate, seed, layer=0)
        taken, gate = tf.transpose(taken, [1, 0, 2]), tf.reshape(gates, [-1, self._gates(0), count])
        experts, share, mixtures = self._level(0, taken, gate, seed)
        every = [experts]
        for level in range(1, self._shape.levels):
            taken = tf.gather(mixtures, self._group)
            gate = tf.transpose(tf.matmul(mixtures[: self._gates(level)], self.gate[level - 1]), [1, 0, 2])
            experts, share, mixtures = self._level(level, taken, gate, seed)
            every.append(experts)
        choices = [tf.gather(share[:, task], np.flatnonzero(self._sees[task]), axis=1) for task in range(self._tasks)]
        return Mixture(mixtures, tf.concat(every, axis=1), choices)

    def _level(
        self, level: int, taken: tf.Tensor, gate: tf.Tensor, seed: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Experts [N, E, units], shares [N, groups, E] and mixtures [groups, N, units] of `taken` [E, N, inputs]."""
        experts = tf.nn.relu(tf.matmul(taken, self.expert[level]) + self.expert_bias[level])
        experts = tf.transpose(dropped(experts, self._shape.dropout, seed, layer=level + 1), [1, 0, 2])
        share = tf.nn.softmax(tf.where(self._sees[: self._gates(level)], gate, UNSEEN), axis=2)
        return experts, share, tf.transpose(tf.matmul(share, experts), [1, 0, 2])

    def _gates(self, level: int) -> int:
        """The mixtures of a level: of each task, and of the shared group where a level follows."""
        return self._tasks + (level < self._shape.levels - 1)


def groups(config: NetworkConfig, tasks: int) -> np.ndarray:
    """int [E]: the group of each expert of a level; the shared one, the last, is number `tasks`."""
    return np.repeat(np.arange(tasks + 1), [config.task_experts] * tasks + [config.experts])
