"""Raw inputs as tf.train.Example protos: one of the request, one of each candidate, features under their own names.

A feature that an example lacks is missing; `surface` and the columns of the formula must be there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from features.keras2 import tensorflow as tf
from serving.raw_inputs import SURFACE

CONTEXT, EXAMPLES = "context", "examples"
PROTOS = (tf.TensorSpec([1], tf.string, name=CONTEXT), tf.TensorSpec([None], tf.string, name=EXAMPLES))


def parsed(call: Mapping[str, tf.Tensor], inputs: Iterable[tf.TensorSpec]) -> dict[str, tf.Tensor]:
    """The raw inputs from the call's two tensors."""
    by_row, of_request = _parts(inputs)
    context = tf.io.parse_single_example(call[CONTEXT][0], {spec.name: _entry(spec) for spec in of_request})
    lists = {spec.name: context[spec.name][None] for spec in of_request if spec.shape.rank == 2}
    rows = tf.io.parse_example(call[EXAMPLES], {spec.name: _entry(spec) for spec in by_row})
    return context | lists | rows


def example_call(raw: Mapping[str, np.ndarray], inputs: Iterable[tf.TensorSpec]) -> dict[str, np.ndarray]:
    """The two tensors of raw inputs."""
    by_row, of_request = _parts(inputs)
    context = _example({spec.name: raw[spec.name].ravel() for spec in of_request})
    columns = {spec.name: raw[spec.name] for spec in by_row}
    rows = len(next(iter(columns.values())))
    examples = [_example({name: values[[row]] for name, values in columns.items()}) for row in range(rows)]
    return {CONTEXT: np.array([context], object), EXAMPLES: np.array(examples, object)}


def _parts(inputs: Iterable[tf.TensorSpec]) -> tuple[list[tf.TensorSpec], list[tf.TensorSpec]]:
    """Those of the candidates, and those of the request."""
    parts: tuple[list[tf.TensorSpec], list[tf.TensorSpec]] = ([], [])
    for spec in inputs:
        parts[spec.shape.as_list() != [None]].append(spec)
    return parts


def _entry(spec: tf.TensorSpec) -> tf.io.FixedLenFeature | tf.io.RaggedFeature:
    if spec.shape.rank == 2:
        return tf.io.RaggedFeature(tf.string)
    shape = [] if spec.shape[0] is None else [1]
    kind = tf.string if spec.dtype == tf.string else tf.float32
    if spec.name == SURFACE or spec.dtype == tf.float64:
        return tf.io.FixedLenFeature(shape, kind)
    return tf.io.FixedLenFeature(shape, kind, np.full(shape, "" if kind == tf.string else np.nan))


def _example(columns: Mapping[str, np.ndarray]) -> bytes:
    features = {}
    for name, values in columns.items():
        if values.dtype == object:
            words = tf.train.BytesList(value=[word.encode() for word in values])
            features[name] = tf.train.Feature(bytes_list=words)
        else:
            features[name] = tf.train.Feature(float_list=tf.train.FloatList(value=values))
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
