"""A PredictionService on the real messages of TF-Serving, over a SavedModel that TensorFlow runs."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import grpc

from features.keras2 import tensorflow as tf  # before the messages, which import it by themselves

# isort: split
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc


class ModelServer(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Signatures by name, behind a port; how it behaves may be changed while it runs."""

    def __init__(self, signatures):
        self.signatures, self.seconds, self.version = signatures, 0.0, 1
        self.spoil = lambda outputs: outputs
        self.as_lists = False
        self.start(port=0)

    def start(self, *, port):
        self.server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(self, self.server)
        self.port = self.server.add_insecure_port(f"127.0.0.1:{port}")
        self.server.start()

    def Predict(self, request, context):
        time.sleep(self.seconds)
        assert request.model_spec.name == "value_model"
        inputs = {name: tf.constant(tf.make_ndarray(proto)) for name, proto in request.inputs.items()}
        outputs = self.signatures[request.model_spec.signature_name](**inputs)
        response = predict_pb2.PredictResponse()
        response.model_spec.version.value = self.version
        for name, values in self.spoil({name: values.numpy() for name, values in outputs.items()}).items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(values))
            if self.as_lists:  # as TF-Serving answers
                response.outputs[name].ClearField("tensor_content")
                response.outputs[name].double_val.extend(values)
        return response
