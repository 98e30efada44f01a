"""Two towers: a query's and an item's embedding meet in an inner product.

Both are cosine-normalised, so logit(q, i) = cos(q, i) / temperature, trained by softmax over the batch's items and a
uniform sample of the catalogue. Of B + U candidates, item i is expected B p_i + U / n times (p_i = its share of the
training pairs), and log of that is subtracted from its logit (logQ): without it popular items, drawn more often as
negatives, would be ranked too low. Sources: Yi et al. 2019, Sampling-Bias-Corrected Neural Modeling, section 3;
Yang et al. 2020, Mixed Negative Sampling, section 3.2.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from features.keras2 import keras, tensorflow_recommenders
from features.keras2 import tensorflow as tf
from features.layers.groups import GroupEncoder
from features.layers.sequences import HistoryEncoder, history_encoder
from features.layers.tables import EmbeddingTables
from features.spec import FeatureSpec, Group, Kind
from retrieval.config import RetrievalConfig
from retrieval.pairs import ItemInputs

tfrs = tensorflow_recommenders()

CHUNK = 8192  # rows embedded at once
QUERY_INPUTS = ("user_codes", "user_lists", "user_numbers")
CATALOGUE_INPUTS = ("item_codes", "item_lists", "item_numbers")


class Tower(keras.layers.Layer):
    """One group's inputs to unit vectors [B, dimensions]."""

    def __init__(
        self,
        spec: FeatureSpec,
        group: Group,
        tables: EmbeddingTables,
        *,
        config: RetrievalConfig,
        seed: int,
        history: HistoryEncoder | None = None,
    ) -> None:
        super().__init__(name=f"{group.value}_tower")
        self.encoder = GroupEncoder(spec, group, tables, bins=config.number_bins, history=history)
        widths = (*config.hidden, config.dimensions)
        self._layers = [
            keras.layers.Dense(
                width,
                activation=None if place == len(config.hidden) else "relu",
                kernel_initializer=keras.initializers.GlorotUniform(seed=seed + place),
            )
            for place, width in enumerate(widths)
        ]

    def call(self, codes: tf.Tensor, lists: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
        hidden = self.encoder(codes, lists, numbers)
        for layer in self._layers:
            hidden = layer(hidden)
        return hidden * tf.math.rsqrt(tf.reduce_sum(hidden * hidden, axis=1, keepdims=True) + 1e-12)


class TwoTower(tfrs.Model):  # type: ignore[name-defined]
    """The towers and their loss; `retrieval.tower_training.fit` trains them."""

    def __init__(
        self, spec: FeatureSpec, sizes: Mapping[str, int], *, config: RetrievalConfig, rng: np.random.Generator
    ) -> None:
        """`sizes` counts the codes of each vocabulary, as `features.encoder.Encoder.sizes`."""
        super().__init__()
        self.spec, self.sizes, self.config = spec, dict(sizes), config
        tables = EmbeddingTables(spec, sizes, width=config.table_width, rng=rng)
        first, second = (int(seed) for seed in rng.integers(2**30, size=2))
        history = history_encoder(spec, tables, shape=config.history, rng=rng)
        self.query_tower = Tower(spec, Group.USER, tables, config=config, seed=first, history=history)
        self.item_tower = Tower(spec, Group.ITEM, tables, config=config, seed=second)
        self.task = tfrs.tasks.Retrieval(
            temperature=config.temperature, remove_accidental_hits=config.remove_accidental_hits
        )
        self._embed_queries, self._embed_items = (
            tf.function(tower.call, autograph=False, input_signature=self._signature(names, group))
            for tower, names, group in (
                (self.query_tower, QUERY_INPUTS, Group.USER),
                (self.item_tower, CATALOGUE_INPUTS, Group.ITEM),
            )
        )
        self.embed_queries(*(np.zeros((1, width), kind) for width, kind in self._widths(Group.USER)))
        self._embed(self._embed_items, tuple(np.zeros((1, width), kind) for width, kind in self._widths(Group.ITEM)))

    def compute_loss(self, inputs: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """Summed softmax loss of B pairs.

        `inputs`: user_codes, user_lists, user_numbers [B, ...]; item_codes, item_lists, item_numbers [B + U, ...] of
        the pairs' items and then the uniform ones; item [B + U] catalogue rows; expected [B + U] times that each is
        drawn; weight [B].
        """
        return self.task(
            self.query_tower(inputs["user_codes"], inputs["user_lists"], inputs["user_numbers"]),
            self.item_tower(inputs["item_codes"], inputs["item_lists"], inputs["item_numbers"]),
            sample_weight=inputs["weight"],
            candidate_sampling_probability=self._probability(inputs["expected"]),
            candidate_ids=inputs["item"] if self.config.remove_accidental_hits else None,
            compute_metrics=False,
        )

    def _probability(self, expected: tf.Tensor) -> tf.Tensor | None:
        """Expected draws as a probability: a common factor moves every logit alike, so the greatest becomes 1."""
        return expected / tf.reduce_max(expected) if self.config.correct_sampling else None

    def embed_queries(self, codes: np.ndarray, lists: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Float32 [R, dimensions] of the user group of R requests."""
        return self._embed(self._embed_queries, (codes, lists, numbers))

    def embed_items(self, items: ItemInputs) -> np.ndarray:
        """Float32 [n, dimensions] of the whole catalogue."""
        return self._embed(self._embed_items, (items.codes, items.lists, items.numbers))

    def _embed(self, tower, columns: tuple[np.ndarray, ...]) -> np.ndarray:  # type: ignore[no-untyped-def]
        parts = [
            tower(*(tf.constant(column[start : start + CHUNK]) for column in columns)).numpy()
            for start in range(0, len(columns[0]), CHUNK)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, self.config.dimensions), np.float32)

    def query_function(self):  # type: ignore[no-untyped-def]
        """The query tower as a pure tf.function of QUERY_INPUTS, to be exported (SavedModel, ONNX)."""

        def query_embedding(user_codes, user_lists, user_numbers):  # type: ignore[no-untyped-def]
            return tf.identity(self.query_tower(user_codes, user_lists, user_numbers), name="query_embedding")

        return tf.function(query_embedding, autograph=False, input_signature=self._signature(QUERY_INPUTS, Group.USER))

    def item_function(self):  # type: ignore[no-untyped-def]
        """The item tower likewise, of CATALOGUE_INPUTS: items that begin later are embedded by what they are."""

        def item_embedding(item_codes, item_lists, item_numbers):  # type: ignore[no-untyped-def]
            return tf.identity(self.item_tower(item_codes, item_lists, item_numbers), name="item_embedding")

        return tf.function(
            item_embedding, autograph=False, input_signature=self._signature(CATALOGUE_INPUTS, Group.ITEM)
        )

    def _signature(self, names: tuple[str, ...], group: Group) -> list[tf.TensorSpec]:
        return [
            tf.TensorSpec([None, width], tf.as_dtype(kind), name=name)
            for name, (width, kind) in zip(names, self._widths(group), strict=True)
        ]

    def _widths(self, group: Group) -> tuple[tuple[int, type], ...]:
        """(columns, type) of a group's codes, lists and numbers."""
        return (
            (len(self.spec.select(group, Kind.CATEGORY)), np.int32),
            (sum(feature.length for feature in self.spec.select(group, Kind.CATEGORIES)), np.int32),
            (len(self.spec.select(group, Kind.NUMBER)), np.float32),
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """Every weight by place and name: a stable order for one spec and config."""
        return {f"{place:03d} {v.name.split(':')[0]}": v.numpy() for place, v in enumerate(self.weights)}

    def assign(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take over what `arrays` of towers of the same spec and config returned; ValueError when they differ."""
        present = self.arrays()
        if [value.shape for value in present.values()] != [value.shape for value in arrays.values()]:
            raise ValueError("the weights belong to towers of another feature spec, vocabulary or size; train again.")
        for variable, value in zip(self.weights, arrays.values(), strict=True):
            variable.assign(value)

    def save_towers(self, folder: Path) -> None:
        """Write two_tower.json (definitions) and two_tower.npz (weights)."""
        folder.mkdir(parents=True, exist_ok=True)
        definition = {"spec": self.spec.to_json(), "sizes": self.sizes, "config": self.config.to_json()}
        (folder / "two_tower.json").write_text(json.dumps(definition, indent=1))
        np.savez(folder / "two_tower.npz", allow_pickle=False, **self.arrays())

    @classmethod
    def load_towers(cls, folder: Path) -> TwoTower:
        """The towers that `save_towers` wrote: their embeddings are the same bits."""
        definition = json.loads((folder / "two_tower.json").read_text())
        towers = cls(
            FeatureSpec.from_json(definition["spec"]),
            definition["sizes"],
            config=RetrievalConfig.from_json(definition["config"]),
            rng=np.random.default_rng(0),
        )
        with np.load(folder / "two_tower.npz", allow_pickle=False) as arrays:
            towers.assign(dict(arrays))
        return towers
