"""Requests from a caller's arguments, and typed answers from responses, as pure functions.

Predict's two messages, which carry tensors, are in encoding.py and decoding.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeVar

import grpc
import numpy as np
from google.protobuf.message import DecodeError, EncodeError, Message

from tfs_client import servable
from tfs_client.answers import (
    Classification,
    ClassScore,
    Metadata,
    Regression,
    Signature,
    TensorSpec,
    VersionStatus,
)
from tfs_client.errors import (
    AnswerError,
    DtypeError,
    EmptyBatchError,
    RequestError,
    ValueRangeError,
)
from tfs_client.wire import serving_pb2 as pb, tensors

_SIGNATURE_FIELD: Final = "signature_def"

_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}

AnyMessage = TypeVar("AnyMessage", bound=Message)


# --- requests -------------------------------------------------------------------------------------


def model_spec(
    model: str, *, label: str | None = None, version: int | None = None, signature: str = ""
) -> pb.ModelSpec:
    """Whom to ask: by label, by version, or (neither) the latest version.

    Raises:
        RequestError: no model, an empty label, a version that is no int, or both of them.
    """
    servable.check(model, label, version)
    spec = pb.ModelSpec(name=model, signature_name=signature)
    if label is not None:
        spec.version_label = label
    if version is not None:
        spec.version.value = int(version)
    return spec


AnyRequest = TypeVar("AnyRequest", pb.ClassificationRequest, pb.RegressionRequest)


def classify_request(
    spec: pb.ModelSpec, examples: Iterable[Mapping[str, Any]]
) -> pb.ClassificationRequest:
    """A Classify request from examples: mappings from feature name to value or list of values.

    bytes and str make a bytes feature, float a float feature, int and bool an int64 feature.

    Raises:
        RequestError: a feature of another type.
        EmptyBatchError: no examples.
    """
    return _with_examples(pb.ClassificationRequest(model_spec=spec), examples)


def regress_request(
    spec: pb.ModelSpec, examples: Iterable[Mapping[str, Any]]
) -> pb.RegressionRequest:
    """A Regress request; as classify_request."""
    return _with_examples(pb.RegressionRequest(model_spec=spec), examples)


def _with_examples(request: AnyRequest, examples: Iterable[Mapping[str, Any]]) -> AnyRequest:
    if isinstance(examples, (Mapping, str, bytes)) or not isinstance(examples, Iterable):
        raise RequestError(
            f"Expected examples as a list of mappings. Received: {type(examples).__name__}"
        )
    for example in examples:
        if not isinstance(example, Mapping) or not all(isinstance(name, str) for name in example):
            raise RequestError(
                "Expected each example as a mapping from feature name to value. "
                f"Received: {type(example).__name__}"
            )
        features = request.input.example_list.examples.add().features
        for name, value in example.items():
            _write_checked(features, name, value)
    if not request.input.example_list.examples:
        raise EmptyBatchError("Expected at least one example. Received: none")
    return request


def _write_checked(features: pb.Features, name: str, value: Any) -> None:
    try:
        _write_feature(features.feature[name], name, value)
    except RequestError:
        raise
    except (ValueError, OverflowError) as error:  # half a surrogate pair, an int beyond int64
        raise ValueRangeError(
            f"Expected feature {name!r} as text that UTF-8 has, or numbers of 64 bits. "
            f"Received: {error}"
        ) from error


def _write_feature(feature: pb.Feature, name: str, value: Any) -> None:
    values = value if isinstance(value, (list, tuple, np.ndarray)) else [value]
    if all(isinstance(one, (bytes, str, bytearray, memoryview)) for one in values):
        feature.bytes_list.value.extend(
            one.encode() if isinstance(one, str) else bytes(one) for one in values
        )
    elif all(isinstance(one, (bool, int, np.integer, np.bool_)) for one in values):
        feature.int64_list.value.extend(int(one) for one in values)
    elif all(isinstance(one, (int, float, np.integer, np.floating)) for one in values):
        feature.float_list.value.extend(float(one) for one in values)
    else:
        raise DtypeError(
            f"Expected feature {name!r} as bytes, str, int or float, or a list of one of these. "
            f"Received: {[type(one).__name__ for one in values][:3]}"
        )


def metadata_request(spec: pb.ModelSpec) -> pb.GetModelMetadataRequest:
    """Asks for the signatures of a version."""
    return pb.GetModelMetadataRequest(model_spec=spec, metadata_field=[_SIGNATURE_FIELD])


def status_request(spec: pb.ModelSpec) -> pb.GetModelStatusRequest:
    """Asks for the states of a model's versions."""
    return pb.GetModelStatusRequest(model_spec=spec)


def reload_request(config: str) -> pb.ReloadConfigRequest:
    """Asks to serve what a models.config says.

    Args:
        config: the file's content: a ModelServerConfig in protobuf's text format.

    Raises:
        RequestError: the text is no such message; the error has line and column.
    """
    from google.protobuf import text_format  # here: it costs a fifth of the package's import

    if not isinstance(config, str):
        raise RequestError(
            "Expected config as the text of a models.config. "
            f"Received: {type(config).__name__}; read the file first"
        )
    request = pb.ReloadConfigRequest()
    try:
        text_format.Parse(config, request.config)
    except text_format.ParseError as error:
        raise RequestError(
            f"Expected config as the text of a models.config. Received: {error} (line:column)"
        ) from error
    return request


def encode(message: Message) -> bytes:
    """The bytes to send.

    Raises:
        RequestError: more than protobuf's 2 GiB.
    """
    try:
        return message.SerializeToString()
    except (EncodeError, ValueError) as error:
        raise RequestError(
            f"Expected a request of less than 2 GiB. Received: {error}; send fewer rows at once"
        ) from error


# --- answers --------------------------------------------------------------------------------------


def decode(kind: type[AnyMessage], data: bytes) -> AnyMessage:
    """A response from its bytes.

    Raises:
        AnswerError: the bytes are not such a message.
    """
    try:
        return kind.FromString(data)
    except (DecodeError, UnicodeDecodeError) as error:  # the latter: protobuf in pure Python
        raise AnswerError(
            f"Expected a {kind.DESCRIPTOR.name}. Received: {len(data)} bytes that are none "
            f"({error}); is it a model server?"
        ) from error


def read_classification(response: pb.ClassificationResponse, *, latency_s: float) -> Classification:
    """A typed answer, one entry an example."""
    return Classification(
        results=tuple(
            tuple(ClassScore(label=one.label, score=one.score) for one in row.classes)
            for row in response.result.classifications
        ),
        model=response.model_spec.name,
        version=response.model_spec.version.value,
        latency_s=latency_s,
    )


def read_regression(response: pb.RegressionResponse, *, latency_s: float) -> Regression:
    """A typed answer, one value an example."""
    return Regression(
        values=np.array([one.value for one in response.result.regressions], np.float32),
        model=response.model_spec.name,
        version=response.model_spec.version.value,
        latency_s=latency_s,
    )


def read_metadata(response: pb.GetModelMetadataResponse) -> Metadata:
    """The typed signatures of a version.

    Raises:
        AnswerError: there are none in the answer, or they cannot be read.
    """
    if _SIGNATURE_FIELD not in response.metadata:
        raise AnswerError(
            f"Expected {_SIGNATURE_FIELD!r} in the metadata. "
            f"Received: {sorted(response.metadata)}; is it a model server?"
        )
    # Not Any.Unpack: it compares the type's name, and ours is not TensorFlow Serving's.
    signatures = decode(pb.SignatureDefMap, response.metadata[_SIGNATURE_FIELD].value)
    return Metadata(
        model=response.model_spec.name,
        version=response.model_spec.version.value,
        signatures={
            name: _read_signature(name, signatures.signature_def[name])
            for name in sorted(signatures.signature_def)
            if signatures.signature_def[name].method_name  # not the graph's initialiser
        },
    )


def _read_signature(name: str, signature: pb.SignatureDef) -> Signature:
    return Signature(
        name=name,
        method=signature.method_name,
        inputs={
            key: _read_spec(signature.inputs[key], optional=key in signature.defaults)
            for key in sorted(signature.inputs)
        },
        outputs={key: _read_spec(signature.outputs[key]) for key in sorted(signature.outputs)},
    )


def _read_spec(info: pb.TensorInfo, *, optional: bool = False) -> TensorSpec:
    shape = info.tensor_shape
    return TensorSpec(
        dtype=tensors.dtype_name(info.dtype),
        shape=None
        if shape.unknown_rank
        else tuple(dim.size if dim.size >= 0 else None for dim in shape.dim),
        optional=optional,
    )


def read_status(response: pb.GetModelStatusResponse) -> tuple[VersionStatus, ...]:
    """The states of a model's versions, by version."""
    rows = (
        VersionStatus(
            version=row.version,
            state=_state_name(row.state),
            code=_code_name(row.status.error_code),
            error=row.status.error_message,
        )
        for row in response.model_version_status
    )
    return tuple(sorted(rows, key=lambda row: row.version))


def _state_name(state: int) -> str:
    known = pb.ModelVersionStatus.State
    return known.Name(state) if state in known.values() else "UNKNOWN"


def status_code(code: int) -> grpc.StatusCode:
    """The gRPC code of a number in a StatusProto; UNKNOWN for a number without one."""
    return _CODES.get(code, grpc.StatusCode.UNKNOWN)


def _code_name(code: int) -> str:
    return _CODES[code].name if code in _CODES else f"code {code}"
