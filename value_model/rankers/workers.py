"""Workers: processes that take each step of a fit together, by TensorFlow's MultiWorkerMirroredStrategy.

    loss_w = sum of weight x value over the rows of worker w / (sum of weight over the rows of all / workers)
    loss, gradient = mean over the workers of theirs

so that a step is that of one process which has all these rows, however they are shared out. Every process has variables
of its own, which stay alike because all begin alike and take the same steps; the strategy carries sums, dense gradients
and the rows of embedding tables. Which worker a process is, and where the others are, TF_CONFIG says. A process has to
make its `Workers` before any other work of TensorFlow.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from features.keras2 import tensorflow as tf
from value_model.rankers.loss_balance import Gradient
from value_model.rankers.row_means import TINY


class Workers:
    """This process among `count` of them, as the `number`th."""

    def __init__(self) -> None:
        self._strategy = tf.distribute.MultiWorkerMirroredStrategy()
        self.count = int(self._strategy.num_replicas_in_sync)
        self.number = int(self._strategy.cluster_resolver.task_id or 0)

    def together(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """The step of a row and further tensors, in which the means below may be taken; all workers have to take it.

        Its graph is made once, for rows of any number: one that a worker made anew would number its means otherwise.
        """
        graphs: list[Callable[..., Any]] = []

        def taken(row: Mapping[str, tf.Tensor], *further: tf.Tensor) -> Any:
            if not graphs:
                rows = {name: tf.TensorSpec([None, *one.shape[1:]], one.dtype) for name, one in row.items()}
                signature = [rows, *(tf.TensorSpec(one.shape, one.dtype) for one in further)]
                run = functools.partial(self._run, step)
                graphs.append(tf.function(run, autograph=False, input_signature=signature))
            return graphs[0](row, *further)

        return taken

    def _run(self, step: Callable[..., Any], *arguments: Any) -> Any:
        return self._strategy.run(step, args=arguments)

    def row_mean(self, values: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
        """loss_w; follows `RowMean`."""
        shared = self._mean(tf.stop_gradient(tf.reduce_sum(weight)))
        return tf.reduce_sum(weight * values) / tf.maximum(shared, TINY)

    def mean(
        self, gradients: Sequence[Gradient], losses: Mapping[str, tf.Tensor]
    ) -> tuple[list[Gradient], dict[str, tf.Tensor]]:
        """The means of all workers' gradients and losses."""
        dense = [number for number, one in enumerate(gradients) if isinstance(one, tf.Tensor)]
        means = self._mean([*(gradients[number] for number in dense), *losses.values()])
        together = [self._rows(one) if isinstance(one, tf.IndexedSlices) else None for one in gradients]
        for number, gradient in zip(dense, means, strict=False):
            together[number] = gradient
        return together, dict(zip(losses, means[len(dense) :], strict=True))

    def _mean(self, values: Any) -> Any:
        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.MEAN, values)

    def _rows(self, gradient: tf.IndexedSlices) -> tf.IndexedSlices:
        """The rows of all workers, each counted as in the mean."""
        context = tf.distribute.get_replica_context()
        values = context.all_gather(gradient.values / self.count, axis=0)
        return tf.IndexedSlices(values, context.all_gather(gradient.indices, axis=0), gradient.dense_shape)
