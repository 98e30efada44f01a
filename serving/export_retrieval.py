"""The source `nearest` as a SavedModel for TF-Serving: the query tower, and exact search of the items, in one graph.

    retrieve   of R requests, the user's features raw (`features.encoder_graph`), each list filled up with "" to its
               full length -> item_id string [R, k], score float32 [R, k] (inner products), best first, and
               query_embedding float32 [R, d]

Every input's first dimension is that of the requests, so that TF-Serving may batch calls: a product of matrices
instead of many with a vector each. The items are those that could be shown when the bundle was made.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from features.encoder import Encoder
from features.encoder_graph import EncoderGraph, raw_specs
from features.keras2 import tensorflow as tf
from features.spec import Group, Kind
from retrieval.two_tower import TwoTower
from serving.parity import probe_inputs
from serving.raw_inputs import decoded, input_names
from serving.warmup import write_warmup

RETRIEVE = "retrieve"
BATCHING = """max_batch_size { value: 32 }
batch_timeout_micros { value: 500 }
max_enqueued_batches { value: 64 }
"""


class NearestItems(tf.Module):
    """Holds query tower, vocabularies, and the items' ids [n] and embeddings float32 [n, d]."""

    def __init__(
        self, encoder: Encoder, towers: TwoTower, item_id: np.ndarray, embeddings: np.ndarray, *, k: int
    ) -> None:
        super().__init__(name="nearest_items")
        self.encoding, self.tower = EncoderGraph(encoder), towers.query_tower
        self.item_id = tf.Variable(item_id.astype(str), trainable=False, name="item_id")
        self.embeddings = tf.Variable(embeddings, trainable=False, name="embeddings")
        self._k, self._names = min(k, len(item_id)), input_names(encoder.spec)
        signature = {spec.name: spec for spec in user_signature(encoder)}
        self.retrieve = tf.function(self._retrieve, input_signature=[signature], autograph=False)

    def _retrieve(self, raw: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        rows = tf.shape(next(iter(raw.values())))[0]
        features = {name: raw[place] for name, place in self._names.items() if place in raw}
        user = self.encoding.packed(features, Group.USER, rows=rows)
        query = self.tower(user["user_codes"], user["user_lists"], user["user_numbers"])
        best = tf.math.top_k(tf.linalg.matmul(query, self.embeddings, transpose_b=True), k=self._k)
        return {"item_id": tf.gather(self.item_id, best.indices), "score": best.values, "query_embedding": query}


def user_signature(encoder: Encoder) -> list[tf.TensorSpec]:
    """The inputs of `retrieve`."""
    names = input_names(encoder.spec)
    length = {names[feature.name]: feature.length for feature in encoder.spec.select(Group.USER, Kind.CATEGORIES)}
    specs = raw_specs(encoder.spec, Group.USER, names=names, requests=None)
    return [
        tf.TensorSpec([None, length[spec.name]], spec.dtype, name=spec.name) if spec.name in length else spec
        for spec in specs
    ]


def export_retrieval(
    encoder: Encoder,
    towers: TwoTower,
    item_id: np.ndarray,
    embeddings: np.ndarray,
    *,
    k: int,
    model: str,
    folder: Path,
) -> None:
    """Write the SavedModel, how its calls are batched, and its warm-up requests."""
    nearest = NearestItems(encoder, towers, item_id, embeddings, k=k)
    tf.saved_model.save(nearest, str(folder), signatures={RETRIEVE: nearest.retrieve.get_concrete_function()})
    (folder / "batching_params.pbtxt").write_text(BATCHING)
    raw = decoded(probe_inputs(encoder, rows=1, rng=np.random.default_rng(0)), encoder)
    one = {spec.name: raw[spec.name] for spec in user_signature(encoder)}
    several = {name: np.repeat(values, 32, axis=0) for name, values in one.items()}
    write_warmup(folder, {RETRIEVE: [one, several]}, model_name=model)
