"""tensorflow-serving-api, used as TensorFlow Serving's own examples do. See frame.py.

Stubs, tf.make_tensor_proto and tf.make_ndarray; run by an environment of its own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import frame
import grpc
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc


class WithTensorFlow(frame.Client):
    def encoder(self, case: str) -> Callable[[], bytes]:
        signature, name = frame.CASES[case]
        value = frame.load(self.folder, case)
        return lambda: _request(signature, name, value).SerializeToString()

    def decode(self, answer: bytes) -> frame.Outputs:
        return _arrays(predict_pb2.PredictResponse.FromString(answer))

    def caller(self, address: str) -> Callable[[], frame.Outputs]:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(grpc.insecure_channel(address))
        signature, name = frame.CASES["pixels"]
        one = frame.load(self.folder, "pixels")[:1]

        def call() -> frame.Outputs:
            return _arrays(stub.Predict(_request(signature, name, one), timeout=frame.DEADLINE_S))

        return call

    def request(self) -> bytes:
        one = frame.load(self.folder, "pixels")[:1]
        return bytes(_request(*frame.CASES["pixels"], one).SerializeToString())


def _request(signature: str, name: str, value: Any) -> Any:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = frame.MODEL
    request.model_spec.signature_name = signature
    request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request


def _arrays(response: Any) -> frame.Outputs:
    return {name: tf.make_ndarray(tensor) for name, tensor in response.outputs.items()}


if __name__ == "__main__":
    sys.exit(frame.serve(WithTensorFlow(Path(sys.argv[1]))))
