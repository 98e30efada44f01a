"""The network as a ranker: predict from packed arrays, save and load without pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from features.keras2 import tensorflow as tf
from features.spec import FeatureSpec, ModelInputs
from marketplace.heads import Head, composed, heads_of
from value_model.rankers.config import NetworkConfig
from value_model.rankers.logits import predictions
from value_model.rankers.network import Network

CHUNK = 65_536  # rows a call, so that memory stays bounded


class NetworkRanker:
    """A network with the definitions that it was built from, which learns `heads`; follows `Ranker`."""

    def __init__(
        self,
        spec: FeatureSpec,
        sizes: Mapping[str, int],
        *,
        config: NetworkConfig,
        heads: Sequence[Head],
        rng: np.random.Generator,
    ) -> None:
        self.spec, self.sizes, self.config, self._learned = spec, dict(sizes), config, tuple(heads)
        self.network = Network(spec, sizes, config=config, heads=heads, rng=rng)
        self._user = tf.function(self.network.user_part, autograph=False, reduce_retracing=True)
        self._rows = tf.function(self._row_heads, autograph=False, reduce_retracing=True)

    @property
    def heads(self) -> tuple[str, ...]:
        return tuple(head.name for head in self._learned)

    def predict(self, inputs: ModelInputs, *, position: np.ndarray | None = None) -> Mapping[str, np.ndarray]:
        """float64 [N] a head, learned and composed; position None = neutral, as in serving."""
        place = np.zeros(len(inputs.request), np.int32) if position is None else position.astype(np.int32)
        user = self._user(*map(tf.constant, (inputs.user_codes, inputs.user_lists, inputs.user_numbers)))
        items = (inputs.item_codes, inputs.item_lists, inputs.item_numbers)
        columns = (*items, inputs.cross_codes, inputs.cross_numbers, inputs.request, place)
        chunks = []
        for start in range(0, max(len(place), 1), CHUNK):
            rows = (tf.constant(column[start : start + CHUNK]) for column in columns)
            chunks.append(self._rows(user, *rows))
        heads = {name: np.concatenate([chunk[name] for chunk in chunks]).astype(np.float64) for name in self.heads}
        return composed(heads)

    def _row_heads(self, user, codes, lists, numbers, cross_codes, cross_numbers, request, position):  # type: ignore[no-untyped-def]
        item = self.network.item_part(codes, lists, numbers)
        return predictions(self.network.join(user, item, cross_codes, cross_numbers, request, position=position))

    def weights(self) -> dict[str, np.ndarray]:
        """Every variable by its place and name: a stable order for one spec and config."""
        return {f"{i:03d} {v.name.split(':')[0]}": v.numpy() for i, v in enumerate(self.network.variables)}

    def set_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        """Assign what `weights` of a ranker of the same spec and config returned; ValueError when they differ.

        By name, and in order among equal names, so that a layer may move within the network.
        """
        places = sorted(self.weights().items(), key=by_name)
        values = sorted(weights.items(), key=by_name)
        if [(name[4:], value.shape) for name, value in places] != [(name[4:], value.shape) for name, value in values]:
            raise ValueError("the weights belong to a ranker of another feature spec, vocabulary or shape; retrain it.")
        for (place, _), (_, value) in zip(places, values, strict=True):
            self.network.variables[int(place[:3])].assign(value)

    def save(self, folder: Path) -> None:
        """Write network.json (definitions) and network.npz (weights)."""
        folder.mkdir(parents=True, exist_ok=True)
        definition = {
            "spec": self.spec.to_json(),
            "sizes": self.sizes,
            "config": self.config.to_json(),
            "heads": self.heads,
        }
        (folder / "network.json").write_text(json.dumps(definition, indent=1))
        np.savez(folder / "network.npz", allow_pickle=False, **self.weights())

    @classmethod
    def load(cls, folder: Path) -> NetworkRanker:
        """The ranker that `save` wrote: its predictions are the same bits."""
        definition = json.loads((folder / "network.json").read_text())
        ranker = cls(
            FeatureSpec.from_json(definition["spec"]),
            definition["sizes"],
            config=NetworkConfig.from_json(definition["config"]),
            heads=heads_of(definition["heads"]),
            rng=np.random.default_rng(0),
        )
        with np.load(folder / "network.npz", allow_pickle=False) as weights:
            ranker.set_weights(dict(weights))
        return ranker


def by_name(weight: tuple[str, np.ndarray]) -> tuple[str, str]:
    """The order of `weights` by name, then by place."""
    return weight[0][4:], weight[0][:3]
