"""Asks a model server hostile rows and tensors over gRPC, each beside good ones.

Knows a server by its address, and by its process where that is on this machine.
"""

from __future__ import annotations

import base64
import dataclasses
import functools
import json
import math
import urllib.request
from collections.abc import Callable, Iterator
from typing import Final

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import predict_pb2

from export import burden, hostile
from tfs_client import Client, TfsError, contract

DEADLINE_S: Final = 30.0


def _declared(dtype: int, *shape: int, **values: object) -> tensor_pb2.TensorProto:
    """A tensor of a few bytes: the last value is repeated as often as the shape says."""
    tensor = tensor_pb2.TensorProto(dtype=dtype, **values)
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    return tensor


def _pixels(height: int, width: int, rows: int) -> tensor_pb2.TensorProto:
    return _declared(types_pb2.DT_UINT8, rows, height, width, 3, int_val=[7])


TENSORS: Final[dict[str, tuple[str, str, Callable[[int, int], tensor_pb2.TensorProto]]]] = {
    "5000_rows_of_pixels": (
        contract.SIGNATURE_IMAGES,
        contract.INPUT_IMAGES,
        lambda height, width: _pixels(height, width, 5_000),
    ),
    "10000_empty_files": (
        contract.SIGNATURE_DEFAULT,
        contract.INPUT_IMAGE_BYTES,
        lambda *_: _declared(types_pb2.DT_STRING, 10_000, string_val=[b""]),
    ),
    "10000_empty_examples": (
        contract.SIGNATURE_CLASSIFY,
        contract.INPUT_EXAMPLES,
        lambda *_: _declared(types_pb2.DT_STRING, 10_000, string_val=[b""]),
    ),
}
"""Name -> signature, input, and the tensor for a height and a width."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """What came of one hostile row or tensor."""

    name: str
    faults: list[str]
    memory_bytes: int | None
    seconds: float | None
    """of the processor"""


class ServerEndedError(Exception):
    """The server no longer answers a good request."""


ROWS: Final = (
    (contract.SIGNATURE_DEFAULT, contract.INPUT_IMAGE_BYTES, bytes, hostile.FILES),
    (contract.SIGNATURE_CLASSIFY, contract.INPUT_EXAMPLES, hostile.example, hostile.EXAMPLES),
)
"""Signature, input, how a good file becomes a good row, and the hostile rows."""


class HostileCaller:
    """Asks one server.

    Args:
        target: host:port of gRPC.
        good: an image file that the model answers.
        meter: of the server's process.
        label: of the version that is asked.
        rest: host:port of REST; None where it is not to be asked.
    """

    def __init__(
        self, target: str, good: bytes, meter: burden.Meter, label: str, rest: str | None = None
    ):
        self._client = Client(target, timeout_s=DEADLINE_S)
        self._channel = grpc.insecure_channel(target)
        self._good, self._meter, self._label = good, meter, label
        self._ways = {"grpc": self._by_grpc, **({"rest": self._by_rest} if rest else {})}
        self._rest = rest

    def close(self) -> None:
        """Closes its connections."""
        self._client.close()
        self._channel.close()

    @property
    def total(self) -> int:
        """How much ask_all() asks."""
        return len(self._ways) * sum(len(rows) for *_, rows in ROWS) + len(TENSORS)

    def ask_all(self) -> Iterator[Asked]:
        """Asks everything, one after the other.

        Raises:
            ServerEndedError: says behind what.
        """
        last = "nothing"
        try:
            for way, by in self._ways.items():
                for signature, alias, row_of, rows in ROWS:
                    ask = functools.partial(by, signature, alias)
                    for name, cost in burden.measure(ask, row_of(self._good), rows, self._meter):
                        last = f"{way}.{name}"
                        yield Asked(
                            name=last,
                            faults=cost.faults(),
                            memory_bytes=cost.memory_bytes,
                            seconds=cost.seconds,
                        )
            for last in TENSORS:
                yield self._ask_tensor(last)
        except Exception as error:
            if self._lives():
                raise
            raise ServerEndedError(f"the server ended, at or behind {last}") from error

    def _by_grpc(self, signature: str, alias: str, batch: list[bytes]) -> dict[str, np.ndarray]:
        return dict(
            self._client.predict({alias: batch}, signature=signature, label=self._label).outputs
        )

    def _by_rest(self, signature: str, alias: str, batch: list[bytes]) -> dict[str, np.ndarray]:
        rows = [{"b64": base64.b64encode(row).decode()} for row in batch]
        request = urllib.request.Request(
            f"http://{self._rest}/v1/models/{contract.MODEL_NAME}/labels/{self._label}:predict",
            json.dumps({"signature_name": signature, "inputs": {alias: rows}}).encode(),
        )
        with urllib.request.urlopen(request, timeout=DEADLINE_S) as response:
            outputs = json.load(response)["outputs"]  # NaN is read as such
        return {name: np.array(values) for name, values in outputs.items()}

    def _ask_tensor(self, name: str) -> Asked:
        signature, alias, make = TENSORS[name]
        shape = self._client.metadata(label=self._label).signatures[contract.SIGNATURE_IMAGES]
        _, height, width, _ = shape.inputs[contract.INPUT_IMAGES].shape or ()
        request = predict_pb2.PredictRequest()
        request.model_spec.name = contract.MODEL_NAME
        request.model_spec.version_label = self._label
        request.model_spec.signature_name = signature
        tensor = make(height, width)
        request.inputs[alias].CopyFrom(tensor)
        before = self._good_answer()
        self._meter.start()
        faults = []
        try:
            self._channel.unary_unary(
                "/tensorflow.serving.PredictionService/Predict",
                request_serializer=predict_pb2.PredictRequest.SerializeToString,
            )(request, timeout=DEADLINE_S)
            faults.append("more rows answered than the contract allows")
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.INVALID_ARGUMENT:
                faults.append(f"{error.code().name} in place of INVALID_ARGUMENT")
        memory, seconds = self._meter.stop()
        harmed = burden.first_difference(before, self._good_answer())
        cost = burden.Burden(memory_bytes=memory, seconds=seconds, harmed=harmed)
        declared = math.prod(dim.size for dim in tensor.tensor_shape.dim)
        return Asked(
            name=name,
            faults=faults + cost.faults(declared * tf.as_dtype(tensor.dtype).size),
            memory_bytes=memory,
            seconds=seconds,
        )

    def _good_answer(self) -> dict[str, np.ndarray]:
        inputs = {contract.INPUT_IMAGE_BYTES: [self._good]}
        return dict(self._client.predict(inputs, label=self._label).outputs)

    def _lives(self) -> bool:
        try:
            self._client.wait_ready(label=self._label, timeout_s=5)
        except TfsError:
            return False
        return True
