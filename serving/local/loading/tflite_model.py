"""Loads and runs a `model.tflite`, which --prefer_tflite_model puts before the SavedModel.

As in TensorFlow Serving the model answers to one signature, serving_default, whose aliases are the
names of the tensors; the signatures that newer converters write are ignored.
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
from grpc import StatusCode
from numpy.typing import NDArray
from tensorflow.core.protobuf import meta_graph_pb2

from serving.local.errors import ServingError, refuse
from serving.local.loading.feeds import check_dtypes
from serving.local.signature import DEFAULT_SIGNATURE, PREDICT_METHOD, Signature, from_signature_def

_log = logging.getLogger(__name__)

FILE_NAME: Final = "model.tflite"

_INTERPRETERS: Final = os.cpu_count() or 1
"""An interpreter serves one request at a time; TensorFlow Serving's default is one a CPU."""


class TfliteModel:
    """A TensorFlow Lite model in memory; `close` frees it. Thread-safe.

    Args:
        file: the model.

    Raises:
        ServingError: INVALID_ARGUMENT, it is not one.
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
        message = meta_graph_pb2.SignatureDef(method_name=PREDICT_METHOD)
        self._inputs = _describe(interpreter.get_input_details(), message.inputs)
        self._outputs = _describe(interpreter.get_output_details(), message.outputs)
        self._free.put(interpreter)
        self.signatures: Mapping[str, Signature] = {
            DEFAULT_SIGNATURE: from_signature_def(DEFAULT_SIGNATURE, message)
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
                index = self._inputs[alias]
                if tuple(interpreter.tensor(index)().shape) != array.shape:
                    interpreter.resize_tensor_input(index, array.shape)
            interpreter.allocate_tensors()
            for alias, array in inputs.items():
                interpreter.set_tensor(self._inputs[alias], array)
            interpreter.invoke()
            return {name: interpreter.get_tensor(self._outputs[name]) for name in outputs}
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


def _describe(details: Sequence[Mapping[str, Any]], infos: Any) -> dict[str, int]:
    """Fills one side of a SignatureDef; alias → Lite's index of the tensor."""
    indices = {}
    for tensor in details:
        alias = tensor["name"].split(":")[0]
        info = infos[alias]
        info.name = tensor["name"]
        info.dtype = tf.as_dtype(tensor["dtype"]).as_datatype_enum
        info.tensor_shape.SetInParent()
        for size in tensor["shape"]:
            info.tensor_shape.dim.add(size=int(size))
        indices[alias] = tensor["index"]
    return indices
