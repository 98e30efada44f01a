"""TF-Serving's PredictionService over gRPC: one call, Predict, by its wire format, without TensorFlow in the process.

The package tensorflow-serving-api brings the messages, and imports TensorFlow with them. So those of a Predict call are
described here, as far as tensors of numbers and text need them. Source: tensorflow/core/framework/tensor.proto and
tensor_shape.proto, tensorflow_serving/apis/model.proto and predict.proto (a map is a list of its entries).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

from serving.tf_serving_scorer import RemoteFailure

METHOD = "/tensorflow.serving.PredictionService/Predict"
CHANNEL = {
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 1000,
    "grpc.enable_retries": 0,  # the scorer has a budget of its own
}
MESSAGES: Mapping[str, Mapping[str, tuple[int, str]]] = {
    "Version": {"value": (1, "int64")},
    "ModelSpec": {"name": (1, "string"), "version": (2, "Version"), "signature_name": (3, "string")},
    "Dimension": {"size": (1, "int64")},
    "Shape": {"dim": (2, "repeated Dimension")},
    "Tensor": {
        "dtype": (1, "int32"),
        "tensor_shape": (2, "Shape"),
        "tensor_content": (4, "bytes"),
        "float_val": (5, "repeated float"),
        "double_val": (6, "repeated double"),
        "int_val": (7, "repeated int32"),
        "string_val": (8, "repeated bytes"),
        "int64_val": (10, "repeated int64"),
    },
    "Entry": {"key": (1, "string"), "value": (2, "Tensor")},
    "PredictRequest": {"model_spec": (1, "ModelSpec"), "inputs": (2, "repeated Entry")},
    "PredictResponse": {"outputs": (1, "repeated Entry"), "model_spec": (2, "ModelSpec")},
}
FIELDS = {1: "float_val", 2: "double_val", 3: "int_val", 7: "string_val", 9: "int64_val"}  # by type of a tensor
KINDS: Mapping[int, np.dtype] = {
    1: np.dtype(np.float32),
    2: np.dtype(np.float64),
    3: np.dtype(np.int32),
    7: np.dtype(object),
    9: np.dtype(np.int64),
}
CODE = {kind: code for code, kind in KINDS.items()}


class PredictionService:
    """A model of a TF-Serving at HOST:PORT; connects with the first call, and again by itself."""

    def __init__(self, address: str, *, model: str) -> None:
        self._channel = grpc.insecure_channel(address, options=list(CHANNEL.items()))
        self._model = model
        self._call = self._channel.unary_unary(
            METHOD,
            request_serializer=lambda request: request.SerializeToString(),
            response_deserializer=_types["PredictResponse"].FromString,
        )

    def predict(
        self, inputs: Mapping[str, np.ndarray], *, signature: str, seconds: float
    ) -> tuple[dict[str, np.ndarray], int]:
        """The outputs of a signature, and which version of the model gave them; raises RemoteFailure."""
        request = _types["PredictRequest"]()
        request.model_spec.name, request.model_spec.signature_name = self._model, signature
        for name, values in inputs.items():
            request.inputs.add(key=name, value=tensor(values))
        try:
            response = self._call(request, timeout=seconds)
        except grpc.RpcError as error:
            raise _failure(error) from error
        try:
            return {entry.key: array(entry.value) for entry in response.outputs}, response.model_spec.version.value
        except ValueError as error:
            raise RemoteFailure("malformed", str(error)) from error

    def close(self) -> None:
        self._channel.close()


def tensor(values: np.ndarray) -> message.Message:
    """A TensorProto; an array of objects holds text."""
    proto = _types["Tensor"](dtype=CODE[values.dtype], tensor_shape={"dim": [{"size": size} for size in values.shape]})
    if values.dtype == object:
        proto.string_val.extend(text.encode() if isinstance(text, str) else text for text in values.flat)
    else:
        proto.tensor_content = np.ascontiguousarray(values).tobytes()
    return proto


def array(proto: Any) -> np.ndarray:
    """The values of a TensorProto: its bytes, or its list, whose last value stands for all that follow.

    Raises ValueError.
    """
    if proto.dtype not in KINDS:
        raise ValueError(f"a tensor of type {proto.dtype} was received; expected one of numbers or text")
    kind, shape = KINDS[proto.dtype], [dim.size for dim in proto.tensor_shape.dim]
    if proto.tensor_content:
        return np.frombuffer(proto.tensor_content, kind).reshape(shape)
    listed = getattr(proto, FIELDS[proto.dtype])
    values = np.array([text.decode() for text in listed] if kind.hasobject else listed, kind)
    lacking = max(int(np.prod(shape)) - len(values), 0)
    return np.append(values, np.resize(values[-1:], lacking).astype(kind)).reshape(shape)


def _failure(error: Any) -> RemoteFailure:
    code, detail = error.code(), f"{error.code().name}: {error.details()}"
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return RemoteFailure("late", detail)
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED):
        return RemoteFailure("unreachable", detail, passing=code is grpc.StatusCode.UNAVAILABLE)
    return RemoteFailure("refused", detail)


def _message_types() -> dict[str, Any]:
    """The classes of MESSAGES, in a pool of their own: the real ones may be loaded beside them."""
    scalars = {
        name: getattr(descriptor_pb2.FieldDescriptorProto, f"TYPE_{name.upper()}")
        for name in ("int32", "int64", "float", "double", "string", "bytes")
    }
    file = descriptor_pb2.FileDescriptorProto(name="predict.proto", package="predict", syntax="proto3")
    for message_name, fields in MESSAGES.items():
        described = file.message_type.add(name=message_name)
        for name, (number, kind) in fields.items():
            field = described.field.add(name=name, number=number, label=1 + 2 * kind.startswith("repeated "))
            kind = kind.removeprefix("repeated ")
            if kind in scalars:
                field.type = scalars[kind]
            else:
                field.type, field.type_name = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE, f".predict.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"predict.{name}")) for name in MESSAGES}


_types = _message_types()
