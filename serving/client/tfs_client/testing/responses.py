"""The messages that a fake answers with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np

from tfs_client import contract
from tfs_client.answers import TensorSpec
from tfs_client.errors import RequestError
from tfs_client.testing.served.fake_model import FakeModel
from tfs_client.testing.served.requests import Request
from tfs_client.testing.served.wording import Failure, ScriptError
from tfs_client.wire import serving_pb2 as pb, tensors
from tfs_client.wire.inputs import as_array

if TYPE_CHECKING:
    from numpy.typing import NDArray


def prediction(model: FakeModel, version: int, request: Request, value: Any) -> Any:
    """A PredictResponse with values by name.

    Raises:
        ScriptError: they are none, or do not fit the signature.
    """
    name = request.signature or contract.SIGNATURE_DEFAULT
    signature = model.signatures_of(version)[name]
    response = pb.PredictResponse(model_spec=_spec(request, version))
    response.model_spec.signature_name = name
    if not isinstance(value, Mapping):  # what a function returned, perhaps
        raise ScriptError(f"Expected outputs by name for Predict. Received: {type(value).__name__}")
    for output, content in value.items():
        if output not in signature.outputs:
            raise ScriptError(
                f"Expected outputs of {model.name}'s signature {name}: "
                f"{', '.join(sorted(signature.outputs))}. Received: {output!r}"
            )
        if request.outputs and output not in request.outputs:
            continue
        array = _output(output, content, signature.outputs[output].dtype)
        response.outputs[output].CopyFrom(tensors.to_proto(array, output))
    return response


def _output(name: str, content: Any, dtype: str) -> NDArray[Any]:
    """An output's array. A test's arrays keep their dtype: a wrong one can be scripted with them.

    Raises:
        ScriptError: values that the output's dtype does not hold.
    """
    if isinstance(content, np.ndarray):
        return as_array(content, name)
    try:
        array = as_array(content, name, dtype)
    except RequestError as error:
        raise ScriptError(f"Expected output {name!r} as {dtype}: {error}") from error
    received = tensors.kind_of(array).name
    if received != dtype:
        raise ScriptError(f"Expected output {name!r} as {dtype}. Received: {received}")
    return array


def of_examples(request: Request, version: int, value: Any) -> Any:
    """A ClassificationResponse or RegressionResponse with an entry for each example.

    Raises:
        ScriptError: the values are none of these.
    """
    listed = isinstance(value, Iterable) and not isinstance(value, (Mapping, str, bytes))
    rows = [*value] if listed else []
    if len(rows) != len(request.examples):
        received = f"{len(rows)} of them" if listed else type(value).__name__
        raise ScriptError(
            f"Expected one entry for each of {len(request.examples)} examples of {request.call}. "
            f"Received: {received}"
        )
    if request.call == "Regress":
        regressed = pb.RegressionResponse(model_spec=_spec(request, version))
        for number in rows:
            regressed.result.regressions.add(value=float(number))
        return regressed
    classified = pb.ClassificationResponse(model_spec=_spec(request, version))
    for row in rows:
        classes = classified.result.classifications.add()
        for label, score in row:
            classes.classes.add(label=label, score=score)
    return classified


def metadata(model: FakeModel, version: int) -> Any:
    """A GetModelMetadataResponse: the signatures of a version."""
    signatures = pb.SignatureDefMap()
    for name, signature in model.signatures_of(version).items():
        written = signatures.signature_def[name]
        written.method_name = signature.method
        for tensor, spec in signature.outputs.items():
            _write_info(written.outputs[tensor], tensor, spec)
        for tensor, spec in signature.inputs.items():
            _write_info(written.inputs[tensor], tensor, spec)
            if spec.optional:
                written.defaults[tensor].SetInParent()
    # TensorFlow Serving lists the graph's initialiser too, without a method.
    initialiser = signatures.signature_def["__saved_model_init_op"]
    initialiser.outputs["__saved_model_init_op"].tensor_shape.unknown_rank = True
    response = pb.GetModelMetadataResponse(model_spec={"name": model.name})
    response.model_spec.version.value = version
    packed = response.metadata["signature_def"]
    packed.type_url = "type.googleapis.com/tensorflow.serving.SignatureDefMap"
    packed.value = signatures.SerializeToString()
    return response


def _write_info(info: pb.TensorInfo, name: str, spec: TensorSpec) -> None:
    (code,) = [kind.code for kind in tensors.KINDS if kind.name == spec.dtype]
    info.MergeFrom(pb.TensorInfo(name=f"{name}:0", dtype=pb.DataType.Name(code)))
    if spec.shape is None:
        info.tensor_shape.unknown_rank = True
        return
    info.tensor_shape.SetInParent()
    for size in spec.shape:
        info.tensor_shape.dim.add(size=-1 if size is None else size)


def status(model: FakeModel | None, request: Request) -> Any:
    """The states of a model's versions; a label is ignored, as by TensorFlow Serving.

    Raises:
        Failure: there are none.
    """
    if model is None or not model.versions:
        text = f"Could not find any versions of model {request.model}"
        raise Failure(grpc.StatusCode.NOT_FOUND, text)
    if request.version is not None and request.version not in model.versions:
        text = f"Could not find version {request.version} of model {request.model}"
        raise Failure(grpc.StatusCode.NOT_FOUND, text)
    response = pb.GetModelStatusResponse()
    for version in sorted(model.versions, reverse=True):
        if request.version in (None, version):
            response.model_version_status.add(
                version=version, state=model.versions[version], status={"error_code": 0}
            )
    return response


def _spec(request: Request, version: int) -> pb.ModelSpec:
    spec = pb.ModelSpec(name=request.model)
    spec.version.value = version
    return spec
