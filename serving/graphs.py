"""What is exported: pure TensorFlow functions of packed inputs, from the trained network to calibrated heads.

Every export (SavedModel, ONNX) is lowered from the functions here. Tensors are named as the fields of `ModelInputs`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from features.encoders import vocabulary
from features.keras2 import tensorflow as tf
from features.spec import FeatureSpec, Group, Kind, ModelInputs
from serving.scorer import CROSS_INPUTS, ITEM_INPUTS, USER_INPUTS, input_widths
from value_model.heads import predictions
from value_model.network import Network

Tensors = Mapping[str, tf.Tensor]
Calibrate = Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]]
TOLERANCE = 1e-5


class Calibrators(Protocol):
    """Calibrators of every head that can be part of a graph."""

    def graph(self, heads: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The calibrated heads, as TensorFlow operations."""
        ...

    def to_json(self) -> str: ...


class ExportRefused(ValueError):
    """Two exports of one ranker differ by more than may be: says in what, by how much, and what to do."""


class NetworkRanker(Protocol):
    """A ranker whose network can be exported: `value_model.mmoe.MMoE`."""

    @property
    def spec(self) -> FeatureSpec: ...

    @property
    def sizes(self) -> Mapping[str, int]:
        """Codes per vocabulary."""
        ...

    @property
    def network(self) -> Network: ...

    @property
    def heads(self) -> tuple[str, ...]: ...


def specs(spec: FeatureSpec, names: tuple[str, ...], *, rows: int | None = None) -> list[tf.TensorSpec]:
    """Named signatures of the packed inputs `names`, [rows, columns] each."""
    widths = input_widths(spec)
    return [tf.TensorSpec([rows, widths[name]], kind(name), name=name) for name in names]


def kind(name: str) -> tf.DType:
    return tf.float32 if name.endswith("_numbers") else tf.int32


REQUEST = tf.TensorSpec([None], tf.int32, name="request")


def part_specs(ranker: NetworkRanker) -> list[tf.TensorSpec]:
    """Signature of `heads_of_parts`."""
    width = int(ranker.network.first_bias.shape[0])
    parts = [tf.TensorSpec([None, width], tf.float32, name=name) for name in ("user_part", "item_part")]
    return [*parts, *specs(ranker.spec, ("cross_numbers",)), REQUEST]


def heads_of_parts(ranker: NetworkRanker, calibrate: Calibrate) -> Callable[..., dict[str, tf.Tensor]]:
    """(user_part, item_part, cross_numbers, request) -> calibrated heads, position neutral."""

    def heads(user_part: tf.Tensor, item_part: tf.Tensor, cross_numbers: tf.Tensor, request: tf.Tensor) -> dict:
        return calibrate(predictions(ranker.network.join(user_part, item_part, cross_numbers, request)))

    return heads


def heads_of_inputs(ranker: NetworkRanker, calibrate: Calibrate) -> Callable[[Tensors], dict[str, tf.Tensor]]:
    """All packed inputs and `request` -> calibrated heads and the composed ctcvr and gmv, float64 [N] each."""
    join = heads_of_parts(ranker, calibrate)

    def heads(given: Tensors) -> dict[str, tf.Tensor]:
        user = ranker.network.user_part(*(given[name] for name in USER_INPUTS))
        item = ranker.network.item_part(*(given[name] for name in ITEM_INPUTS))
        found = join(user, item, given["cross_numbers"], given["request"])
        found = {name: tf.cast(values, tf.float64) for name, values in found.items()}
        ctcvr = found["ctcvr"] if "ctcvr" in found else found["ctr"] * found["cvr"]
        return found | {"ctcvr": ctcvr, "gmv": ctcvr * found["order_value"]}

    return heads


def probe_inputs(ranker: NetworkRanker, *, rows: int, rng: np.random.Generator) -> ModelInputs:
    """One request with `rows` candidates, drawn over all codes and a wide range of numbers, a tenth of all missing."""
    widths = input_widths(ranker.spec)

    def numbers(name: str, n: int) -> np.ndarray:
        drawn = rng.lognormal(0, 2, (n, widths[name])) * rng.choice([-1, 1, 1, 1], (n, widths[name]))
        return np.where(rng.random(drawn.shape) < 0.1, np.nan, drawn).astype(np.float32)

    def codes(name: str, n: int) -> np.ndarray:
        drawn = rng.integers(0, _code_limits(ranker, name), (n, widths[name]))
        return np.where(rng.random(drawn.shape) < 0.1, 0, drawn).astype(np.int32)

    def inputs(names: tuple[str, ...], n: int) -> dict[str, np.ndarray]:
        return {name: numbers(name, n) if name.endswith("_numbers") else codes(name, n) for name in names}

    return ModelInputs(
        **inputs(USER_INPUTS, 1),
        **inputs((*ITEM_INPUTS, *CROSS_INPUTS), rows),
        request=np.zeros(rows, np.int32),
    )


def _code_limits(ranker: NetworkRanker, name: str) -> np.ndarray:
    """int64 [columns]: how many codes each column of a `_codes` or `_lists` input can take."""
    group, shape = name.split("_")
    features = ranker.spec.select(Group(group), Kind.CATEGORY if shape == "codes" else Kind.CATEGORIES)
    counts = [max(ranker.sizes[vocabulary(feature)], 2) for feature in features for _ in range(feature.length)]
    return np.array(counts, np.int64)
