"""Bodies: what stands between the network's first layer and its task towers.

Conventions: N rows, T tasks (one a learned head: the probabilities, then the amounts), E experts. A body's columns of
the first layer are `hidden` ones, the first layers of its experts, which start He-normal, and `gates`, which start at
zero, so that a mixture starts with equal shares. A task's source is the task whose event its condition is (of cvr it is
ctr, of order value cvr), None for what speaks of every item shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from features.keras2 import tensorflow as tf
from marketplace.heads import Head, HeadKind
from marketplace.treatment import ARMS
from value_model.rankers.config import NetworkConfig

Sources = Sequence[int | None]  # [T], places of tasks


class BodyColumns(NamedTuple):
    """How many columns of the first layer a body reads."""

    hidden: int
    gates: int


class Mixture(NamedTuple):
    """What a body makes of N rows: of each task its inputs, float32 [T, N, units], and what they are mixed from.

    `experts` float32 [N, E, units]; `shares`, a task: the shares of what its gate chooses from, float32 [N, choices].
    """

    tasks: tf.Tensor
    experts: tf.Tensor
    shares: Sequence[tf.Tensor]


class Body(Protocol):
    """A Keras layer, so that it is saved; its columns are known before it is built."""

    def __init__(self, config: NetworkConfig, sources: Sources, *, rng: np.random.Generator) -> None: ...

    @staticmethod
    def columns(config: NetworkConfig, tasks: int) -> BodyColumns: ...

    def __call__(self, hidden: tf.Tensor, gates: tf.Tensor, seed: tf.Tensor | None) -> Mixture:
        """`hidden` and `gates` are the body's columns, float32 [N, .]; a `seed` int32 [2] switches dropout on."""
        ...


def he(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """He-normal start of stacked matrices [..., inputs, outputs]."""
    return rng.normal(0, np.sqrt(2 / shape[-2]), shape).astype(np.float32)


def dropped(hidden: tf.Tensor, rate: float, seed: tf.Tensor | None, *, layer: int) -> tf.Tensor:
    """Dropout whose draw follows from (seed, layer) alone; nothing without a seed."""
    if seed is None or rate == 0:
        return hidden
    of_layer = tf.stack([seed[0] + layer // 2, 2 * seed[1] + layer % 2])
    return tf.nn.experimental.stateless_dropout(hidden, rate, seed=of_layer)


def sources_of(heads: Sequence[Head]) -> tuple[int | None, ...]:
    """The source of each head's task."""
    events = [i for i, head in enumerate(heads) if head.kind is HeadKind.PROBABILITY and head.condition not in ARMS]
    place = {heads[i].label: i for i in events}
    return tuple(place.get(head.condition) if head.condition else None for head in heads)
