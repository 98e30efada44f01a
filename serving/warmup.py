"""Warm-up requests: what TF-Serving replays before it declares a model ready, so that no caller pays the first call.

A TFRecord file of `PredictionLog` protos at assets.extra/tf_serving_warmup_requests.
Source: tensorflow.org/tfx/serving/saved_model_warmup.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from features.keras2 import tensorflow as tf

PLACE = Path("assets.extra") / "tf_serving_warmup_requests"


def write_warmup(savedmodel: Path, calls: Mapping[str, list[Mapping[str, np.ndarray]]], *, model_name: str) -> Path:
    """Write the inputs of `calls` (by signature) into the export; raises ImportError without tensorflow-serving-api."""
    from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_log_pb2

    path = savedmodel / PLACE
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, requests in calls.items():
            for inputs in requests:
                request = predict_pb2.PredictRequest(
                    model_spec=model_pb2.ModelSpec(name=model_name, signature_name=signature),
                    inputs={name: tf.make_tensor_proto(values) for name, values in inputs.items()},
                )
                logged = prediction_log_pb2.PredictLog(request=request)
                writer.write(prediction_log_pb2.PredictionLog(predict_log=logged).SerializeToString())
    return path


def read_warmup(savedmodel: Path) -> list[tuple[str, dict[str, np.ndarray]]]:
    """(signature, inputs) of every warm-up request of an export."""
    from tensorflow_serving.apis import prediction_log_pb2

    calls = []
    for record in tf.data.TFRecordDataset(str(savedmodel / PLACE)).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        inputs = {name: tf.make_ndarray(proto) for name, proto in request.inputs.items()}
        calls.append((request.model_spec.signature_name, inputs))
    return calls
