"""The multi-task network: a first layer that is split by what each input depends on, a body, a tower a task.

Conventions: R requests, N rows, T tasks, one a learned head: the probabilities, then the amounts. The first layers of
the body's experts, its gates and the wide (linear) logits read the same inputs, so they are one matrix, and that matrix
splits by input group:

    first[n] = user_part[request[n]] + item_part[n] + [encode(cross[n]), attended[n]] @ W_c + b          [N, H]
    task     = body(first)                             what stands between: value_model.rankers.bodies
    logit_t  = relu(task_t @ W_t + b_t) @ v_t + wide_t + products(first) @ p_t          value_model.rankers.interactions

The user part is computed once a request and the item part once an item (cacheable); `attended` is what the history says
of the row's item, where `sequence` is "din" (`features.layers.target_attention`). The wide part passes a number
straight to a logit, as the price to the log of order value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from features.keras2 import keras
from features.keras2 import tensorflow as tf
from features.layers.groups import GroupEncoder
from features.layers.sequences import history_encoder
from features.layers.tables import EmbeddingTables
from features.layers.target_attention import HistoryKeys, TargetAttention
from features.spec import FeatureSpec, Group
from marketplace.heads import Head, HeadKind
from marketplace.presentation import WIDTHS
from value_model.rankers.bodies import Body, Mixture, he, sources_of
from value_model.rankers.config import NetworkConfig
from value_model.rankers.information_transfer import InformationTransfer
from value_model.rankers.interactions import CrossNetwork, pairs
from value_model.rankers.logits import SIGMA, Logits, LogNormal
from value_model.rankers.mixture_of_experts import MixtureOfExperts
from value_model.rankers.position_tower import PositionTower
from value_model.rankers.progressive_extraction import ProgressiveExtraction
from value_model.rankers.ranker import RankingData
from value_model.rankers.shared_bottom import SharedBottom

BODIES: Mapping[str, type[Body]] = {
    "shared_bottom": SharedBottom,
    "mmoe": MixtureOfExperts,
    "ple": ProgressiveExtraction,
    "aitm": InformationTransfer,
}


class UserPart(NamedTuple):
    """A request's share of the first layer, float32 [R, H], and what DIN compares candidates with, none without it."""

    first: tf.Tensor
    keys: HistoryKeys | tuple[()]


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
        super().__init__(name="network")
        self._shape = config
        self._events = [head for head in heads if head.kind is HeadKind.PROBABILITY]
        self._amounts = [head for head in heads if head.kind is HeadKind.MONEY]
        self._tasks = len(heads)
        self.task_names = [head.name for head in (*self._events, *self._amounts)]
        self._columns = self._column_counts()
        tables = EmbeddingTables(spec, sizes, width=config.embedding, rng=rng)
        history = history_encoder(spec, tables, shape=config.history, rng=rng)
        self.user = GroupEncoder(spec, Group.USER, tables, bins=config.bins, history=history)
        self.item = GroupEncoder(spec, Group.ITEM, tables, bins=config.bins)
        self.cross = GroupEncoder(spec, Group.CROSS, tables, bins=config.bins)
        widths = {"user": self.user.width, "item": self.item.width, "cross": self.cross.width}
        self.target = None
        if config.sequence == "din":
            units, width = config.sequence_units, self.item.width
            self.target = TargetAttention(spec, tables, item_width=width, units=units, rng=rng)
            widths["history"] = self.target.width
        self._first_layer(widths, rng=rng)
        self.body = BODIES[config.body](config, sources_of([*self._events, *self._amounts]), rng=rng)
        self._towers(rng=rng)
        self.crossing = CrossNetwork(config, rng=rng) if config.interactions == "dcn" else None
        if config.interactions != "none":
            self.last_products = tf.Variable(
                np.zeros((config.interaction_units, self._tasks), np.float32), name="last_products"
            )
        self.position = PositionTower(
            form=config.examination,
            positions=config.positions,
            heads=self._events,
            factors=config.position_factors,
            presentation=sum(WIDTHS[name] for name in config.presentation),
        )
        ranges = np.tile(np.array([0, 1, -10, 10], np.float32), (len(self._amounts), 1))
        self.log_value = tf.Variable(ranges, trainable=False, name="log_value")

    def _column_counts(self) -> dict[str, int]:
        config = self._shape
        return {
            **BODIES[config.body].columns(config, self._tasks)._asdict(),
            "wide": self._tasks + len(self._amounts),
            "mix": config.position_factors,
            "interaction": 0 if config.interactions == "none" else config.interaction_units,
            "squares": config.interaction_units if config.interactions == "fm" else 0,
        }

    def _first_layer(self, widths: Mapping[str, int], *, rng: np.random.Generator) -> None:
        """Random columns for the body's hidden units and what interacts, zeros for its gates and the wide logits."""
        ends = np.cumsum(list(self._columns.values()))
        places = dict(zip(self._columns, np.split(np.arange(ends[-1]), ends[:-1]), strict=True))
        inputs, starts = max(sum(widths.values()), 1), {}
        deviations = {"hidden": np.sqrt(2 / inputs), "mix": 0.05, "interaction": np.sqrt(1 / inputs)}
        for group, width in widths.items():
            start = np.zeros((width, ends[-1] - self._columns["squares"]), np.float32)
            for part, deviation in deviations.items():
                start[:, places[part]] = rng.normal(0, deviation, (width, len(places[part])))
            starts[group] = start
        # Keras sees the variables of a dictionary only when it is assigned whole.
        self._first = {group: tf.Variable(start, name=f"first_{group}") for group, start in starts.items()}
        self.first_bias = tf.Variable(np.zeros(ends[-1], np.float32), name="first_bias")

    def _towers(self, *, rng: np.random.Generator) -> None:
        """A tower a task; its last layer starts at zero."""
        outer, tower = self._shape.expert_units[1], self._shape.tower_units
        self.tower = tf.Variable(he(rng, (self._tasks, outer, tower)), name="tower")
        self.tower_bias = tf.Variable(np.zeros((self._tasks, 1, tower), np.float32), name="tower_bias")
        self.last = tf.Variable(np.zeros((tower, self._tasks), np.float32), name="last")
        self.last_bias = tf.Variable(np.zeros(self._columns["wide"], np.float32), name="last_bias")

    @property
    def task_variables(self) -> list[tf.Variable]:
        """What belongs to one task, or to its positions, alone; the rest is shared."""
        products = [] if self._shape.interactions == "none" else [self.last_products]
        return [self.tower, self.tower_bias, self.last, self.last_bias, *products, *self.position.trainable_variables]

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
            weight, event = data.weight * head.rows(labels), np.nan_to_num(labels[head.label])
            if data.examination is not None and not head.after_event:
                weight, event = weight * data.examination, event / data.examination
            odds = self.position.adapt(data.position, event, weight, head=i)
            self.last_bias[i].assign(odds)

    @property
    def item_width(self) -> int:
        """Columns of an item part."""
        return int(self.first_bias.shape[0]) + (0 if self.target is None else self.target.query_width)

    def user_part(self, codes: tf.Tensor, lists: tf.Tensor, numbers: tf.Tensor) -> UserPart:
        """What depends on the requests alone."""
        first = self._part(self.user(codes, lists, numbers), self._first["user"])
        keys = () if self.target is None else self.target.keys(lists)
        return UserPart(first, keys)

    def item_part(self, codes: tf.Tensor, lists: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
        """What depends on the items alone, float32 [N, item_width]: their share of the first layer, and DIN's query."""
        item = self.item(codes, lists, numbers)
        first = self._part(item, self._first["item"])
        return first if self.target is None else tf.concat([first, self.target.query(item)], axis=1)

    def _part(self, inputs: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        """What some of the inputs bring to the first layer, and to the squares of its interaction."""
        part, squares = tf.matmul(inputs, weights), self._columns["squares"]
        if not squares:
            return part
        return tf.concat([part, tf.matmul(tf.square(inputs), tf.square(weights[:, -squares:]))], axis=1)

    def join(
        self,
        user_part: UserPart,
        item_part: tf.Tensor,
        cross_codes: tf.Tensor,
        cross_numbers: tf.Tensor,
        request: tf.Tensor,
        *,
        position: tf.Tensor | None = None,
        seed: tf.Tensor | None = None,
    ) -> Logits:
        """Logits of N rows; position None = neutral; a `seed` int32 [2] switches dropout on."""
        first = self.first(user_part, item_part, cross_codes, cross_numbers, request)
        return self.logits(first, position=position, seed=seed)

    def logits(
        self,
        first: Mapping[str, tf.Tensor],
        *,
        position: tf.Tensor | None,
        presentation: tf.Tensor | None = None,
        seed: tf.Tensor | None = None,
    ) -> Logits:
        """Logits of the first layer's rows, as `join`; `presentation` of their places, None = nothing is known."""
        towers = tf.nn.relu(tf.matmul(self.mixture(first, seed=seed).tasks, self.tower) + self.tower_bias)
        deep = tf.reduce_sum(tf.transpose(towers, [1, 2, 0]) * self.last, axis=1) + self._interacted(first)
        count, wide = len(self._events), first["wide"] + self.last_bias
        shown = self.position.shown(deep[:, :count] + wide[:, :count], position, first["mix"], presentation)
        return self._logits(shown, deep[:, count:] + wide[:, count : self._tasks], wide[:, self._tasks :])

    def first(
        self,
        user_part: UserPart,
        item_part: tf.Tensor,
        cross_codes: tf.Tensor,
        cross_numbers: tf.Tensor,
        request: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        """The first layer of N rows, by what reads it."""
        of_row, weights = [], []
        if self.cross.width:
            of_row.append(self.cross(cross_codes, cross_codes[:, :0], cross_numbers))
            weights.append(self._first["cross"])
        if self.target is not None:
            widths = [self.first_bias.shape[0], self.target.query_width]
            item_part, query = tf.split(item_part, widths, axis=1)
            of_row.append(self.target(query, user_part.keys, request))
            weights.append(self._first["history"])
        first = tf.gather(user_part.first, request) + item_part + self.first_bias
        if of_row:
            first += self._part(tf.concat(of_row, axis=1), tf.concat(weights, axis=0))
        return dict(zip(self._columns, tf.split(first, list(self._columns.values()), axis=1), strict=True))

    def mixture(self, first: Mapping[str, tf.Tensor], *, seed: tf.Tensor | None = None) -> Mixture:
        """What the body makes of the first layer's rows."""
        return self.body(first["hidden"], first["gates"], seed)

    def _interacted(self, first: Mapping[str, tf.Tensor]) -> tf.Tensor | float:
        """What products of features add to the logits, float32 [N, T]."""
        if self._shape.interactions == "none":
            return 0.0
        sums = first["interaction"]
        products = self.crossing(sums) if self.crossing else pairs(sums, first["squares"])
        return tf.matmul(products, self.last_products)

    def _logits(self, events: tf.Tensor, amounts: tf.Tensor, spread: tf.Tensor) -> Logits:
        """By head; log amounts are scaled, and held to the range seen in training."""
        logits = {head.name: events[:, i] for i, head in enumerate(self._events)}
        normal = {}
        for i, head in enumerate(self._amounts):
            centre, scale, low, high = tf.unstack(self.log_value[i])
            mu = tf.clip_by_value(centre + scale * amounts[:, i], low, high)
            sigma = tf.clip_by_value(scale * tf.math.softplus(spread[:, i] + 0.5413), *SIGMA)
            normal[head.name] = LogNormal(mu, sigma)
        return Logits(logits, normal)
