"""The ranker as a SavedModel for TF-Serving, and for anything that links TensorFlow's C API.

Every input is named as the field of `ModelInputs` that it is; codes come from the bundle's encoder.json. Signatures:

    heads               packed inputs, request [N] -> calibrated heads, for any number of requests
    value               one request's packed inputs, quantities, `surface` -> heads, every named expression, value
    value_with_weights  the same with each weight as a scalar input `weight_NAME` instead of `surface`

`surface` int32 []: place in marketplace.schema.SURFACES; it chooses the policy's own weights, baked into the graph.
Quantities [N] are the columns that the formula reads beside the heads, such as commission_rate. Quantities, weights
and every answer are float64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from features.keras2 import tensorflow as tf
from features.spec import ModelInputs
from marketplace.heads import HEADS, composed
from marketplace.schema import SURFACES
from serving.parity import Vocabulary, probe_inputs
from serving.scorer import INPUTS, USER_INPUTS, input_widths
from serving.warmup import write_warmup
from value_model.formula import ValuePolicy
from value_model.formula_graph import graph_values
from value_model.rankers.graphs import Graphs

Tensors = Mapping[str, tf.Tensor]
WEIGHT = "weight_"
SURFACE = "surface"
WARMUP_ROWS = (500, 100, 1)


class Servable(tf.Module):
    """Holds the network's variables and the three signatures."""

    def __init__(self, vocabulary: Vocabulary, graphs: Graphs, policy: ValuePolicy) -> None:
        super().__init__(name="value_model")
        self.graphs, self._policy = graphs, policy
        self.heads = _traced(self._heads, list(graphs.whole.input_signature))
        shared = [*_one_request(vocabulary), *(tf.TensorSpec([None], tf.float64, name=n) for n in quantities(policy))]
        surface = tf.TensorSpec([], tf.int32, name=SURFACE)
        weights = [tf.TensorSpec([], tf.float64, name=WEIGHT + name) for name in policy.weight]
        self.value = _traced(self._with_policy_weights, [*shared, surface])
        self.value_with_weights = _traced(self._with_call_weights, [*shared, *weights])

    def _heads(self, call: Tensors) -> dict[str, tf.Tensor]:
        """The heads in float64, products composed in it."""
        heads = self.graphs.whole(**{name: call[name] for name in (*INPUTS, "request")})
        return composed({name: tf.cast(values, tf.float64) for name, values in heads.items()})

    def _with_policy_weights(self, call: Tensors) -> dict[str, tf.Tensor]:
        weights = [list(self._policy.weights_for(surface=surface).values()) for surface in SURFACES]
        row = tf.gather(tf.constant(np.array(weights, np.float64).reshape(len(SURFACES), -1)), call[SURFACE])
        return self._values(call, {name: row[i] for i, name in enumerate(self._policy.weight)})

    def _with_call_weights(self, call: Tensors) -> dict[str, tf.Tensor]:
        return self._values(call, {name: call[WEIGHT + name] for name in self._policy.weight})

    def _values(self, call: Tensors, weights: Tensors) -> dict[str, tf.Tensor]:
        request = tf.zeros([tf.shape(call["cross_numbers"])[0]], tf.int32)
        heads = self._heads({**call, "request": request})
        columns = {**heads, **{name: call[name] for name in quantities(self._policy)}}
        named = graph_values(self._policy, columns, weights=weights)
        return heads | named | {"value": named[self._policy.result]}


def quantities(policy: ValuePolicy) -> tuple[str, ...]:
    """The columns that the formula reads beside the heads."""
    return tuple(name for name in policy.inputs if name not in {head.name for head in HEADS})


def export_savedmodel(vocabulary: Vocabulary, graphs: Graphs, policy: ValuePolicy, *, folder: Path) -> None:
    """Write the SavedModel with its warm-up requests."""
    servable = Servable(vocabulary, graphs, policy)
    signatures = {
        name: getattr(servable, name).get_concrete_function() for name in ("heads", "value", "value_with_weights")
    }
    tf.saved_model.save(servable, str(folder), signatures=signatures)
    rng = np.random.default_rng(0)
    probes = [probe_inputs(vocabulary, rows=rows, rng=rng) for rows in WARMUP_ROWS]
    columns = [{name: np.full(len(p.request), 0.5) for name in quantities(policy)} for p in probes]
    calls: dict[str, list[Mapping[str, np.ndarray]]] = {
        "heads": [heads_call(probe) for probe in probes],
        "value": [value_call(p, c, surface="home") for p, c in zip(probes, columns, strict=True)],
        "value_with_weights": [
            value_call(p, c, weights=policy.weights_for()) for p, c in zip(probes, columns, strict=True)
        ],
    }
    write_warmup(folder, calls, model_name="value_model")


def heads_call(inputs: ModelInputs) -> dict[str, np.ndarray]:
    """The named tensors of signature `heads`."""
    return {name: getattr(inputs, name) for name in (*INPUTS, "request")}


def value_call(
    inputs: ModelInputs,
    columns: Mapping[str, np.ndarray],
    *,
    surface: str | None = None,
    weights: Mapping[str, float] | None = None,
) -> dict[str, np.ndarray]:
    """The named tensors of `value` (with a `surface`) or `value_with_weights` (with `weights`), for one request."""
    call = {name: getattr(inputs, name) for name in INPUTS}
    call |= {name: np.asarray(values, np.float64) for name, values in columns.items()}
    if weights is not None:
        return call | {WEIGHT + name: np.float64(weight) for name, weight in weights.items()}
    return call | {SURFACE: np.int32(SURFACES.index(surface or "home"))}


def graph_names(savedmodel: Path, signature: str) -> tuple[dict[str, str], dict[str, str]]:
    """(input name -> graph tensor, output name -> graph tensor): what a caller without Python addresses."""
    from tensorflow.core.protobuf import saved_model_pb2

    model = saved_model_pb2.SavedModel.FromString((savedmodel / "saved_model.pb").read_bytes())
    tensors = model.meta_graphs[0].signature_def[signature]
    return (
        {name: info.name for name, info in tensors.inputs.items()},
        {name: info.name for name, info in tensors.outputs.items()},
    )


def _one_request(vocabulary: Vocabulary) -> list[tf.TensorSpec]:
    widths = input_widths(vocabulary.spec)
    rows = {name: 1 if name in USER_INPUTS else None for name in INPUTS}
    kinds = {name: tf.float32 if name.endswith("_numbers") else tf.int32 for name in INPUTS}
    return [tf.TensorSpec([rows[name], widths[name]], kinds[name], name=name) for name in INPUTS]


def _traced(
    function: Callable[[Tensors], dict[str, tf.Tensor]], signature: list[tf.TensorSpec]
) -> tf.types.experimental.GenericFunction:
    """`function` of one dict as a tf.function of a dict whose every tensor is named."""
    return tf.function(function, input_signature=[{spec.name: spec for spec in signature}], autograph=False)
