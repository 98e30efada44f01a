"""The ranker as a SavedModel for TF-Serving, and for anything that links TensorFlow's C API.

Raw signatures take one request's features as they are logged (`serving.raw_inputs`), and look names up themselves:

    raw_value               features, columns of the formula, `surface` -> heads, every named expression, value
    raw_value_with_weights  the same with each weight as a scalar input `weight_NAME` as well
    examples                the same as `raw_value` from tf.train.Example protos: `context` string [1] holds what the
                            request has, `examples` string [N] what each candidate has; a feature that one of them
                            lacks is missing

In the others every input is named as the field of `ModelInputs` that it is; codes come from the bundle's encoder.json:

    heads                   packed inputs, request [N] -> calibrated heads, for any number of requests
    value                   one request's packed inputs, quantities, `surface` -> as `raw_value`
    value_with_weights      the same with each weight as a scalar input `weight_NAME` instead of `surface`

`surface`, here int32 []: place in marketplace.schema.SURFACES; it chooses the policy's own weights, baked into the
graph. Quantities [N] are the columns that the formula reads beside the heads, such as commission_rate. Quantities,
weights and every answer are float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from features.encoder import Encoder
from features.encoder_graph import EncoderGraph, raw_specs
from features.keras2 import tensorflow as tf
from features.spec import FeatureSpec, Group, ModelInputs
from marketplace.heads import composed
from marketplace.schema import SURFACES
from serving.parity import probe_inputs
from serving.raw_inputs import SURFACE, decoded, formula_inputs, input_names, quantities
from serving.scorer import INPUTS, USER_INPUTS, input_widths
from serving.tf_examples import PROTOS, example_call, parsed
from serving.warmup import write_warmup
from value_model.formula import ValuePolicy
from value_model.formula_graph import graph_values
from value_model.rankers.graphs import Graphs

Tensors = Mapping[str, tf.Tensor]
WEIGHT = "weight_"
WARMUP_ROWS = (500, 100, 1)
SIGNATURES = ("heads", "value", "value_with_weights", "raw_value", "raw_value_with_weights", "examples")


class Servable(tf.Module):
    """Holds the network's variables, the vocabularies and the signatures."""

    def __init__(self, encoder: Encoder, graphs: Graphs, policy: ValuePolicy) -> None:
        super().__init__(name="value_model")
        self.graphs, self.encoding, self._policy = graphs, EncoderGraph(encoder), policy
        self._spec, self._formula = encoder.spec, formula_inputs(encoder.spec, policy)
        self.heads = _traced(self._heads, list(graphs.whole.input_signature))
        shared = [*_one_request(encoder.spec), *_doubles(quantities(policy))]
        weights = [tf.TensorSpec([], tf.float64, name=WEIGHT + name) for name in policy.weight]
        surface = tf.TensorSpec([], tf.int32, name=SURFACE)
        self.value = _traced(self._with_policy_weights, [*shared, surface])
        self.value_with_weights = _traced(self._with_call_weights, [*shared, *weights])
        raw = raw_signature(encoder.spec, policy)
        self.raw_value = _traced(self._raw_value, raw)
        self.raw_value_with_weights = _traced(self._raw_with_weights, [*raw, *weights])
        self.examples = _traced(lambda call: self._raw_value(parsed(call, raw)), list(PROTOS))

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

    def _raw_value(self, call: Tensors) -> dict[str, tf.Tensor]:
        place = tf.where(tf.equal(tf.constant(SURFACES), call[SURFACE]))
        known = tf.debugging.Assert(tf.size(place) == 1, [f"surface is none of {', '.join(SURFACES)}:", call[SURFACE]])
        with tf.control_dependencies([known]):
            return self._with_policy_weights({**self._coded(call), SURFACE: tf.cast(place[0, 0], tf.int32)})

    def _raw_with_weights(self, call: Tensors) -> dict[str, tf.Tensor]:
        return self._with_call_weights({**call, **self._coded(call)})

    def _coded(self, raw: Tensors) -> dict[str, tf.Tensor]:
        """The packed inputs and the formula's columns of one request."""
        rowwise = next(spec.name for spec in raw_signature(self._spec, self._policy) if spec.shape.as_list() == [None])
        rows = {Group.USER: 1, Group.ITEM: tf.size(raw[rowwise]), Group.CROSS: tf.size(raw[rowwise])}
        features = {name: raw[place] for name, place in input_names(self._spec).items()}
        packed = [self.encoding.packed(features, group, rows=n) for group, n in rows.items()]
        columns = {column: tf.cast(raw[name], tf.float64) for column, name in self._formula.items()}
        return {name: tensor for part in (*packed, columns) for name, tensor in part.items()}


def raw_signature(spec: FeatureSpec, policy: ValuePolicy) -> list[tf.TensorSpec]:
    """The named inputs of `raw_value`."""
    names = input_names(spec)
    specs = {each.name: each for group in Group for each in raw_specs(spec, group, names=names)}
    specs.setdefault(SURFACE, tf.TensorSpec([1], tf.string, name=SURFACE))
    further = [name for name in formula_inputs(spec, policy).values() if name not in specs]
    return [*specs.values(), *_doubles(further)]


def export_savedmodel(encoder: Encoder, graphs: Graphs, policy: ValuePolicy, *, folder: Path) -> None:
    """Write the SavedModel with its warm-up requests."""
    servable = Servable(encoder, graphs, policy)
    signatures = {name: getattr(servable, name).get_concrete_function() for name in SIGNATURES}
    tf.saved_model.save(servable, str(folder), signatures=signatures)
    write_warmup(folder, warmup_calls(encoder, policy), model_name="value_model")


def warmup_calls(encoder: Encoder, policy: ValuePolicy) -> dict[str, list[Mapping[str, np.ndarray]]]:
    """Drawn calls of every signature, over all codes."""
    rng = np.random.default_rng(0)
    calls: dict[str, list[Mapping[str, np.ndarray]]] = {name: [] for name in SIGNATURES}
    for rows in WARMUP_ROWS:
        probe = probe_inputs(encoder, rows=rows, rng=rng)
        columns = {name: np.full(rows, 0.5) for name in quantities(policy)}
        raw = decoded(probe, encoder) | {SURFACE: np.array(["home"], object)}
        further = formula_inputs(encoder.spec, policy).items()
        raw |= {name: columns[column] for column, name in further if name not in raw}
        weights = {WEIGHT + name: np.array(weight) for name, weight in policy.weights_for().items()}
        calls["heads"].append(heads_call(probe))
        calls["value"].append(value_call(probe, columns, surface="home"))
        calls["value_with_weights"].append(value_call(probe, columns, weights=policy.weights_for()))
        calls["raw_value"].append(raw)
        calls["raw_value_with_weights"].append(raw | weights)
        calls["examples"].append(example_call(raw, raw_signature(encoder.spec, policy)))
    return calls


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


def _doubles(names: Iterable[str]) -> list[tf.TensorSpec]:
    return [tf.TensorSpec([None], tf.float64, name=name) for name in names]


def _one_request(spec: FeatureSpec) -> list[tf.TensorSpec]:
    widths = input_widths(spec)
    rows = {name: 1 if name in USER_INPUTS else None for name in INPUTS}
    kinds = {name: tf.float32 if name.endswith("_numbers") else tf.int32 for name in INPUTS}
    return [tf.TensorSpec([rows[name], widths[name]], kinds[name], name=name) for name in INPUTS]


def _traced(
    function: Callable[[Tensors], dict[str, tf.Tensor]], signature: list[tf.TensorSpec]
) -> tf.types.experimental.GenericFunction:
    """`function` of one dict as a tf.function of a dict whose every tensor is named."""
    return tf.function(function, input_signature=[{spec.name: spec for spec in signature}], autograph=False)
