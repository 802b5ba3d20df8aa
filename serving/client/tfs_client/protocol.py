"""TensorFlow Serving's gRPC protocol, for programs that speak it without a Client.

    from tfs_client.protocol import METHODS, decode, messages, to_proto

    request = messages.PredictRequest(model_spec={"name": "affine"})
    request.inputs["x"].CopyFrom(to_proto(array))
    call = grpc.insecure_channel("localhost:8500").unary_unary(METHODS["Predict"])
    response = decode(messages.PredictResponse, call(request.SerializeToString()))

`messages` holds the messages of the prediction and model services, and of models.config, as protoc
generates them; on the wire they are TensorFlow Serving's own.
"""

from __future__ import annotations

from tfs_client.call.channel import METHODS
from tfs_client.failures.codes import from_code
from tfs_client.wire import serving_pb2 as messages
from tfs_client.wire.messages import decode
from tfs_client.wire.tensors import dtype_name, from_proto, to_proto

__all__ = ["METHODS", "decode", "dtype_name", "from_code", "from_proto", "messages", "to_proto"]
