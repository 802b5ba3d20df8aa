"""Loads and runs a `model.tflite`, which --prefer_tflite_model puts before the SavedModel.

As in TensorFlow Serving the signatures are those in the metadata `signature_defs_metadata`, a map
of names to SignatureDefs. Without it the model answers to one signature, serving_default, whose
aliases are the names of the tensors; what newer converters write elsewhere is ignored.
"""

from __future__ import annotations

import logging
import os
import queue
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import tensorflow as tf
from flatbuffers import flexbuffers
from google.protobuf.message import DecodeError
from grpc import StatusCode
from numpy.typing import NDArray
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow.lite.python import schema_py_generated as schema

from serving.local.errors import ServingError, invalid_argument, refuse
from serving.local.loading.feeds import check_dtypes
from serving.local.signature import DEFAULT_SIGNATURE, PREDICT_METHOD, Signature, from_signature_def

_log = logging.getLogger(__name__)

FILE_NAME: Final = "model.tflite"

_METADATA: Final = b"signature_defs_metadata"

_INVALID: Final = "Invalid SignatureDefs found in TfLite model: "

_INTERPRETERS: Final = os.cpu_count() or 1
"""An interpreter serves one request at a time; TensorFlow Serving's default is one a CPU."""


class TfliteModel:
    """A TensorFlow Lite model in memory; `close` frees it. Thread-safe.

    Args:
        file: the model.

    Raises:
        ServingError: INVALID_ARGUMENT, it is not one, or its metadata holds no signatures;
            INTERNAL, a signature names a tensor that it does not have.
    """

    def __init__(self, file: Path) -> None:
        content = file.read_bytes()
        self._free: queue.SimpleQueue[Any] = queue.SimpleQueue()
        try:
            for _ in range(_INTERPRETERS):
                self._free.put(_interpreter(content))
        except ValueError:
            refuse("Cannot build FlatBufferModel from buffer.")
        interpreter = self._free.get()
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        self._inputs, self._outputs = _indices(inputs), _indices(outputs)
        self._free.put(interpreter)
        found = _in_metadata(content)
        for message in found.values():
            _check_names("input", message.inputs, self._inputs)
            _check_names("output", message.outputs, self._outputs)
        if not found:
            message = meta_graph_pb2.SignatureDef(method_name=PREDICT_METHOD)
            _describe(inputs, message.inputs)
            _describe(outputs, message.outputs)
            found = {DEFAULT_SIGNATURE: message}
        self.signatures: Mapping[str, Signature] = {
            name: from_signature_def(name, message) for name, message in found.items()
        }

    def run(
        self, signature: Signature, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str]
    ) -> dict[str, NDArray[Any]]:
        """Computes some outputs, as `SavedModel.run`.

        Raises:
            ServingError: INVALID_ARGUMENT, another dtype than declared; INTERNAL, with TensorFlow
                Serving's words; Lite's own go to the log.
        """
        check_dtypes(signature, inputs)
        interpreter = self._free.get()
        try:
            for alias, array in inputs.items():
                index = self._inputs[signature.inputs[alias].tensor_name]
                if tuple(interpreter.tensor(index)().shape) != array.shape:
                    interpreter.resize_tensor_input(index, array.shape)
            interpreter.allocate_tensors()
            for alias, array in inputs.items():
                index = self._inputs[signature.inputs[alias].tensor_name]
                interpreter.set_tensor(index, array)
            interpreter.invoke()
            indices = {name: self._outputs[signature.outputs[name].tensor_name] for name in outputs}
            return {name: interpreter.get_tensor(index) for name, index in indices.items()}
        except (RuntimeError, ValueError) as error:
            _log.info("TensorFlow Lite: %s", error)
            raise ServingError(
                StatusCode.INTERNAL, "Failed to invoke TfLite interpreter"
            ) from error
        finally:
            self._free.put(interpreter)

    def close(self) -> None:
        """Frees the interpreters; nothing may run any more."""
        self._free = queue.SimpleQueue()


def _interpreter(content: bytes) -> Any:
    with warnings.catch_warnings():
        # It warns that tf.lite.Interpreter will move to another package.
        warnings.simplefilter("ignore")
        interpreter = tf.lite.Interpreter(model_content=content)
    interpreter.allocate_tensors()
    return interpreter


def _indices(details: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Name of a tensor → Lite's index of it."""
    return {tensor["name"]: tensor["index"] for tensor in details}


def _describe(details: Sequence[Mapping[str, Any]], infos: Any) -> None:
    """Fills one side of a SignatureDef."""
    for tensor in details:
        info = infos[_legacy_name(tensor["name"])]
        info.name = tensor["name"]
        info.dtype = tf.as_dtype(tensor["dtype"]).as_datatype_enum
        info.tensor_shape.SetInParent()
        for size in tensor["shape"]:
            info.tensor_shape.dim.add(size=int(size))


def _legacy_name(name: str) -> str:
    """A tensor's name as early converters wrote it."""
    return name.split(":")[0]


def _in_metadata(content: bytes) -> dict[str, Any]:
    """The SignatureDefs that a model's metadata holds, by name; empty where it holds none.

    Raises:
        ServingError: INVALID_ARGUMENT, they cannot be read.
    """
    try:
        model = schema.Model.GetRootAsModel(content, 0)
        entries = [model.Metadata(number) for number in range(model.MetadataLength())]
        numbers = [entry.Buffer() for entry in entries if entry.Name() == _METADATA]
        if not numbers:
            return {}
        written = bytes(model.Buffers(numbers[0]).DataAsNumpy())
        held = flexbuffers.GetRoot(written).AsMap
        found = {key.AsString: held[at].AsStringBytes for at, key in enumerate(held.Keys)}
    except Exception as error:  # whatever bytes do to a reader that believes them
        _log.info("the signatures in a model.tflite: %r", error)
        raise invalid_argument(f"{_INVALID}Error reading signature def map: {error}") from error
    try:
        # TensorFlow Serving reads each as a string of C: up to its first zero.
        return {
            name: meta_graph_pb2.SignatureDef.FromString(text.partition(b"\0")[0])
            for name, text in found.items()
        }
    except DecodeError as error:
        raise invalid_argument(
            f"{_INVALID}Cannot parse signature def found in flatbuffer."
        ) from error


def _check_names(side: str, infos: Any, indices: Mapping[str, int]) -> None:
    """Holds a signature's tensors against the model's; an early converter's name is put right.

    Raises:
        ServingError: INTERNAL, in TensorFlow Serving's words.
    """
    for alias, info in infos.items():
        if info.name not in indices:
            info.name = _legacy_name(name := info.name)
            if info.name not in indices:
                raise ServingError(
                    StatusCode.INTERNAL,
                    f"Unknown tensor '{name}'.\n\tSignature {side} {alias} references an unknown "
                    "tensor",
                )
