"""The multi-gate mixture of experts, its first layer split by what each input depends on.

Conventions: R requests, N rows, E experts, T tasks, one a learned head: the probabilities, then the amounts. All
experts' first layers, all gates and the wide (linear) logits read the same inputs, so they are one matrix, and that
matrix splits by input group:

    first[n] = user_part[request[n]] + item_part[n] + encode(cross[n]) @ W_c + b          [N, H]
    expert_e = relu(relu(first_e) @ W_e + b_e)         task_t = sum_e softmax(gate_t)_e * expert_e
    logit_t  = relu(task_t @ W_t + b_t) @ v_t + wide_t

The user part is computed once a request and the item part once an item (cacheable). The wide part passes a number
straight to a logit, as the price to the log of order value.
Source: Ma et al. 2018, Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts, eq. 5-7.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from features.keras2 import keras
from features.keras2 import tensorflow as tf
from features.layers.groups import GroupEncoder
from features.layers.tables import EmbeddingTables
from features.spec import FeatureSpec, Group
from marketplace.heads import Head, HeadKind
from value_model.rankers.config import NetworkConfig
from value_model.rankers.logits import SIGMA, Logits, LogNormal
from value_model.rankers.position_tower import PositionTower
from value_model.rankers.ranker import RankingData


class Network(keras.Model):
    """Logits of the learned `heads`."""

    def __init__(
        self,
        spec: FeatureSpec,
        sizes: Mapping[str, int],
        *,
        config: NetworkConfig,
        heads: Sequence[Head],
        rng: np.random.Generator,
    ) -> None:
        super().__init__(name="mmoe")
        self._shape = config
        self._events = [head for head in heads if head.kind is HeadKind.PROBABILITY]
        self._amounts = [head for head in heads if head.kind is HeadKind.MONEY]
        self._tasks = len(heads)
        self._columns = self._column_counts()
        tables = EmbeddingTables(spec, sizes, width=config.embedding, rng=rng)
        self.user = GroupEncoder(spec, Group.USER, tables, bins=config.bins)
        self.item = GroupEncoder(spec, Group.ITEM, tables, bins=config.bins)
        self.cross = GroupEncoder(spec, Group.CROSS, tables, bins=config.bins)
        widths = {"user": self.user.width, "item": self.item.width, "cross": self.cross.width}
        self._first_layer(widths, rng=rng)
        self._upper_layers(rng=rng)
        self.position = PositionTower(
            positions=config.positions, heads=len(self._events), factors=config.position_factors
        )
        ranges = np.tile(np.array([0, 1, -10, 10], np.float32), (len(self._amounts), 1))
        self.log_value = tf.Variable(ranges, trainable=False, name="log_value")

    def _column_counts(self) -> dict[str, int]:
        config = self._shape
        return {
            "experts": config.experts * config.expert_units[0],
            "gates": self._tasks * config.experts,
            "wide": self._tasks + len(self._amounts),
            "mix": config.position_factors,
        }

    def _first_layer(self, widths: Mapping[str, int], *, rng: np.random.Generator) -> None:
        """He-normal columns for the experts, zeros for the gates (equal shares) and the wide logits."""
        units, columns = self._columns["experts"], sum(self._columns.values())
        inputs = max(sum(widths.values()), 1)
        starts = {}
        for group, width in widths.items():
            start = np.zeros((width, columns), np.float32)
            start[:, :units] = rng.normal(0, np.sqrt(2 / inputs), (width, units))
            if self._columns["mix"]:
                start[:, -self._columns["mix"] :] = rng.normal(0, 0.05, (width, self._columns["mix"]))
            starts[group] = start
        # Keras sees the variables of a dictionary only when it is assigned whole.
        self._first = {group: tf.Variable(start, name=f"first_{group}") for group, start in starts.items()}
        self.first_bias = tf.Variable(np.zeros(columns, np.float32), name="first_bias")

    def _upper_layers(self, *, rng: np.random.Generator) -> None:
        """The experts' second layers and the towers; a tower's last layer starts at zero."""
        experts, (inner, outer), tower = self._shape.experts, self._shape.expert_units, self._shape.tower_units
        self.expert = tf.Variable(he(rng, (experts, inner, outer)), name="expert")
        self.expert_bias = tf.Variable(np.zeros((experts, 1, outer), np.float32), name="expert_bias")
        self.tower = tf.Variable(he(rng, (self._tasks, outer, tower)), name="tower")
        self.tower_bias = tf.Variable(np.zeros((self._tasks, 1, tower), np.float32), name="tower_bias")
        self.last = tf.Variable(np.zeros((tower, self._tasks), np.float32), name="last")
        self.last_bias = tf.Variable(np.zeros(self._columns["wide"], np.float32), name="last_bias")

    def adapt(self, data: RankingData) -> None:
        """Learn the number transforms, base rates, position logits and the ranges of log amounts from training rows."""
        inputs, labels = data.inputs, data.labels
        self.user.numbers.adapt(inputs.user_numbers)
        self.item.numbers.adapt(inputs.item_numbers)
        self.cross.numbers.adapt(inputs.cross_numbers)
        for i, head in enumerate(self._amounts):
            amounts = labels[head.label][head.training_rows(labels)].astype(np.float64)
            if len(amounts):
                log = np.log(amounts)
                self.log_value[i].assign([log.mean(), max(log.std(), 1e-3), log.min() - 1, log.max() + 1])
        for i, head in enumerate(self._events):
            weight = data.weight * head.rows(labels)
            odds = self.position.adapt(data.position, np.nan_to_num(labels[head.label]), weight, head=i)
            self.last_bias[i].assign(odds)

    def user_part(self, codes: tf.Tensor, lists: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
        """The requests' share of the first layer, float32 [R, H]."""
        return tf.matmul(self.user(codes, lists, numbers), self._first["user"])

    def item_part(self, codes: tf.Tensor, lists: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
        """The items' share of the first layer, float32 [N, H]: it depends on the item alone."""
        return tf.matmul(self.item(codes, lists, numbers), self._first["item"])

    def join(
        self,
        user_part: tf.Tensor,
        item_part: tf.Tensor,
        cross_codes: tf.Tensor,
        cross_numbers: tf.Tensor,
        request: tf.Tensor,
        *,
        position: tf.Tensor | None = None,
        seed: tf.Tensor | None = None,
    ) -> Logits:
        """Logits of N rows; position None = neutral; a `seed` int32 [2] switches dropout on."""
        first = tf.gather(user_part, request) + item_part + self.first_bias
        if self.cross.width:
            first += tf.matmul(self.cross(cross_codes, cross_codes[:, :0], cross_numbers), self._first["cross"])
        experts, gates, wide, mix = tf.split(first, list(self._columns.values()), axis=1)
        tasks = self._mixtures(experts, gates, seed)
        towers = tf.nn.relu(tf.matmul(tasks, self.tower) + self.tower_bias)
        deep = tf.reduce_sum(tf.transpose(towers, [1, 2, 0]) * self.last, axis=1)
        return self._logits(deep, wide + self.last_bias, position, mix)

    def _mixtures(self, experts: tf.Tensor, gates: tf.Tensor, seed: tf.Tensor | None) -> tf.Tensor:
        """Each task's own mixture of the experts, float32 [T, N, units]."""
        count, (inner, outer) = self._shape.experts, self._shape.expert_units
        hidden = self._drop(tf.nn.relu(tf.reshape(experts, [-1, count, inner])), seed, 0)
        hidden = tf.matmul(tf.transpose(hidden, [1, 0, 2]), self.expert) + self.expert_bias
        hidden = self._drop(tf.nn.relu(hidden), seed, 1)
        share = tf.nn.softmax(tf.reshape(gates, [-1, self._tasks, count]), axis=2)
        mixed = tf.matmul(share, tf.transpose(hidden, [1, 0, 2]))
        return tf.transpose(tf.reshape(mixed, [-1, self._tasks, outer]), [1, 0, 2])

    def _drop(self, hidden: tf.Tensor, seed: tf.Tensor | None, layer: int) -> tf.Tensor:
        if seed is None or self._shape.dropout == 0:
            return hidden
        of_layer = tf.stack([seed[0], 2 * seed[1] + layer])
        return tf.nn.experimental.stateless_dropout(hidden, self._shape.dropout, seed=of_layer)

    def _logits(self, deep: tf.Tensor, wide: tf.Tensor, position: tf.Tensor | None, mix: tf.Tensor) -> Logits:
        """Add the wide and the position logits; log amounts are scaled, and held to the range seen in training."""
        place = self.position(tf.zeros_like(deep[:, 0], tf.int32) if position is None else position, mix)
        count = len(self._events)
        event = deep[:, :count] + wide[:, :count] + place
        events = {head.name: event[:, i] for i, head in enumerate(self._events)}
        amounts = {}
        for i, head in enumerate(self._amounts):
            centre, scale, low, high = tf.unstack(self.log_value[i])
            mu = tf.clip_by_value(centre + scale * (deep[:, count + i] + wide[:, count + i]), low, high)
            sigma = tf.clip_by_value(scale * tf.math.softplus(wide[:, self._tasks + i] + 0.5413), *SIGMA)
            amounts[head.name] = LogNormal(mu, sigma)
        return Logits(events, amounts)


def he(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """He-normal start of stacked matrices [..., inputs, outputs]."""
    return rng.normal(0, np.sqrt(2 / shape[-2]), shape).astype(np.float32)
