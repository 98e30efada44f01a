"""The towers' optimizer: Adagrad, and Adam of the weights that read a history step by step.

Adagrad's first step moves a weight by its whole rate. That suits embeddings, of which a row is seen now and then; at
the same rate it undoes the start of a Transformer, which then says the same of every history.
"""

from __future__ import annotations

from collections.abc import Sequence

from features.keras2 import keras
from features.keras2 import tensorflow as tf
from retrieval.config import RetrievalConfig

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-7
START = 0.1  # of Adagrad's sums of squares


class TowerOptimizer(keras.optimizers.Adagrad):
    """Adagrad (Duchi et al. 2011); Adam (Kingma and Ba 2015, algorithm 1) of the variables named in `reading`."""

    def __init__(self, reading: Sequence[tf.Variable], *, config: RetrievalConfig) -> None:
        super().__init__(config.learning_rate, initial_accumulator_value=START)
        self._reading, self._rate = {variable.ref() for variable in reading}, config.sequence_learning_rate

    def build(self, var_list: Sequence[tf.Variable]) -> None:
        if getattr(self, "_built", False):  # each step asks anew
            return
        super().build(var_list)
        self._moments = {
            variable.ref(): [self.add_variable_from_reference(variable, name) for name in ("first", "second")]
            for variable in var_list
            if variable.ref() in self._reading
        }

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable) -> None:
        """One update."""
        if variable.ref() not in self._moments:
            super().update_step(gradient, variable)
            return
        gradient = tf.convert_to_tensor(gradient)  # the few places of a history are rows, too
        first, second = self._moments[variable.ref()]
        step = tf.cast(self.iterations + 1, variable.dtype)
        first.assign(BETA1 * first + (1 - BETA1) * gradient)
        second.assign(BETA2 * second + (1 - BETA2) * tf.square(gradient))
        rate = self._rate * tf.sqrt(1 - tf.pow(BETA2, step)) / (1 - tf.pow(BETA1, step))
        variable.assign_sub(rate * first / (tf.sqrt(second) + EPSILON))
