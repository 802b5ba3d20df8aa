"""What is sent and what is answered: the same bytes for all clients, made once into a folder.

The answers are TensorFlow Serving's messages, written with protobuf itself. clients/frame.py has
the names.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.bench.client.clients import frame
from tfs_client import contract
from tfs_client.protocol import from_proto, messages as pb, to_proto

FILES = 32


def make(folder: Path) -> None:
    """Writes everything into the folder."""
    random = np.random.default_rng(7)
    pixels = random.integers(0, 256, (32, 64, 64, 3), np.uint8)
    np.save(folder / "pixels.npy", pixels)
    np.save(folder / "tensor.npy", random.random((256, 256, 16), np.float32))
    for index in range(FILES):
        file = io.BytesIO()
        Image.fromarray(pixels[index]).save(file, "PNG")
        (folder / f"{index:02}.png").write_bytes(file.getvalue())
    large = random.random((1024, 1024), np.float32)
    np.save(folder / "large.npy", large)
    for form, message in {"content": large_content(large), "values": large_values(large)}.items():
        (folder / f"{form}.answer").write_bytes(message.SerializeToString())
    (folder / "outputs.answer").write_bytes(four_outputs().SerializeToString())
    (folder / "metadata.answer").write_bytes(metadata().SerializeToString())


def large_content(array: NDArray[np.float32]) -> pb.PredictResponse:
    """One output as tensor_content."""
    response = _response()
    response.outputs["y"].CopyFrom(to_proto(array))
    return response


def large_values(array: NDArray[np.float32]) -> pb.PredictResponse:
    """One output as float_val, which is what TensorFlow Serving sends by default."""
    response = _response()
    tensor = response.outputs["y"]
    tensor.CopyFrom(to_proto(array))
    tensor.ClearField("tensor_content")
    tensor.float_val.extend(array.ravel().tolist())
    return response


def four_outputs() -> pb.PredictResponse:
    """The contract's four outputs about one image, in the form that TensorFlow Serving sends."""
    response = _response()
    for name, dtype, field, value in (
        (contract.OUTPUT_PROBABILITY, pb.DT_FLOAT, "float_val", frame.PROBABILITY),
        (contract.OUTPUT_LABEL, pb.DT_STRING, "string_val", frame.LABEL),
        (contract.OUTPUT_NEEDS_REVIEW, pb.DT_BOOL, "bool_val", False),
        (contract.OUTPUT_VALID, pb.DT_BOOL, "bool_val", True),
    ):
        tensor = response.outputs[name]
        tensor.dtype = dtype
        tensor.tensor_shape.dim.add(size=1)
        getattr(tensor, field).append(value)
    return response


def metadata() -> pb.GetModelMetadataResponse:
    """The signatures of the cases that are sent."""
    signatures = pb.SignatureDefMap()
    shapes = {
        "pixels": (pb.DT_UINT8, (-1, 64, 64, 3)),
        "tensor": (pb.DT_FLOAT, (-1, 256, 16)),
        "files": (pb.DT_STRING, (-1,)),
    }
    for case, (dtype, shape) in shapes.items():
        name, tensor = frame.CASES[case]
        signature = signatures.signature_def[name]
        signature.method_name = contract.METHOD_PREDICT
        _write_info(signature.inputs[tensor], dtype, shape)
        for output, its_dtype in (
            (contract.OUTPUT_PROBABILITY, pb.DT_FLOAT),
            (contract.OUTPUT_LABEL, pb.DT_STRING),
            (contract.OUTPUT_NEEDS_REVIEW, pb.DT_BOOL),
            (contract.OUTPUT_VALID, pb.DT_BOOL),
        ):
            _write_info(signature.outputs[output], its_dtype, (-1,))
    response = pb.GetModelMetadataResponse(model_spec=_spec())
    packed = response.metadata["signature_def"]
    packed.type_url = "type.googleapis.com/tensorflow.serving.SignatureDefMap"
    packed.value = signatures.SerializeToString()
    return response


def is_right_request(folder: Path, case: str, data: bytes) -> bool:
    """Whether protobuf reads from a request's bytes what was to be sent."""
    _, name = frame.CASES[case]
    sent = frame.load(folder, case)
    read = from_proto(pb.PredictRequest.FromString(data).inputs[name])
    if isinstance(sent, list):
        return bool(read.tolist() == sent)
    return read.dtype == sent.dtype and np.array_equal(read, sent)


def _response() -> pb.PredictResponse:
    return pb.PredictResponse(model_spec=_spec(contract.SIGNATURE_IMAGES))


def _spec(signature: str = "") -> Any:
    spec = pb.ModelSpec(name=contract.MODEL_NAME, signature_name=signature)
    spec.version.value = 1
    return spec


def _write_info(info: Any, dtype: int, shape: Iterable[int]) -> None:
    info.name = "serving:0"
    info.dtype = dtype
    for size in shape:
        info.tensor_shape.dim.add(size=size)
