"""Adam that touches only the embedding rows of the batch, with decoupled decay for dense weights.

For a table, the moments of rows that are not in the batch stand still ("lazy"), where Adam would decay all of them:
another algorithm, faster by the share of rows touched; dense weights follow Adam exactly.
Source: Kingma and Ba 2015, algorithm 1; Loshchilov and Hutter 2019, Decoupled Weight Decay, algorithm 2.
"""

from __future__ import annotations

from collections.abc import Sequence

from features.keras2 import tensorflow as tf

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-7


class LazyAdam(tf.Module):
    """Moments for `variables`; `step` counts updates."""

    def __init__(self, variables: Sequence[tf.Variable], *, decay: float) -> None:
        super().__init__(name="lazy_adam")
        self._decay = decay
        self.step = tf.Variable(0.0, trainable=False, name="step")
        self.first = [tf.Variable(tf.zeros_like(v), trainable=False, name="first") for v in variables]
        self.second = [tf.Variable(tf.zeros_like(v), trainable=False, name="second") for v in variables]

    def apply(
        self,
        gradients: Sequence[tf.Tensor | tf.IndexedSlices | None],
        variables: Sequence[tf.Variable],
        rate: tf.Tensor,
    ) -> None:
        """One update of every variable that has a gradient."""
        self.step.assign_add(1.0)
        scale = rate * tf.sqrt(1 - tf.pow(BETA2, self.step)) / (1 - tf.pow(BETA1, self.step))
        for gradient, variable, first, second in zip(gradients, variables, self.first, self.second, strict=True):
            if isinstance(gradient, tf.IndexedSlices):
                self._rows(gradient, variable, first, second, scale)
            elif gradient is not None:
                self._dense(gradient, variable, first, second, scale, rate)

    def _dense(self, gradient, variable, first, second, scale, rate) -> None:  # type: ignore[no-untyped-def]
        first.assign(BETA1 * first + (1 - BETA1) * gradient)
        second.assign(BETA2 * second + (1 - BETA2) * tf.square(gradient))
        if self._decay and is_matrix(variable):
            variable.assign_sub(rate * self._decay * variable)
        variable.assign_sub(scale * first / (tf.sqrt(second) + EPSILON))

    def _rows(self, gradient, variable, first, second, scale) -> None:  # type: ignore[no-untyped-def]
        rows, place = tf.unique(gradient.indices)
        summed = tf.math.unsorted_segment_sum(gradient.values, place, tf.size(rows))
        new_first = BETA1 * tf.gather(first, rows) + (1 - BETA1) * summed
        new_second = BETA2 * tf.gather(second, rows) + (1 - BETA2) * tf.square(summed)
        first.scatter_update(tf.IndexedSlices(new_first, rows))
        second.scatter_update(tf.IndexedSlices(new_second, rows))
        variable.scatter_sub(tf.IndexedSlices(scale * new_first / (tf.sqrt(new_second) + EPSILON), rows))


def is_matrix(variable: tf.Variable) -> bool:
    """Whether `variable` multiplies hidden units: biases, logits of positions and embedding rows do not decay."""
    name = variable.name.split(":")[0]
    return len(variable.shape) > 1 and not name.endswith("bias") and not name.startswith(("table_", "bias", "loading"))
