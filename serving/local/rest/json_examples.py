"""REST classify's and regress' JSON → serialized tf.Examples.

The checks, their order and their texts are TensorFlow Serving's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tensorflow.core.example import feature_pb2

from serving.local.apis.tensor_proto import varint
from serving.local.errors import refuse
from serving.local.rest import json_text, json_values

_KIND_NAMES: Final = {"bytes_list": "bytes", "float_list": "float", "int64_list": "int64"}


def parse_examples(document: Mapping[str, Any]) -> list[bytes]:
    """Converts the examples of a classify or regress request.

    Args:
        document: the whole body.

    Returns:
        Serialized tf.Examples, each with the features of the request's context.

    Raises:
        ServingError: INVALID_ARGUMENT.
    """
    context = _example(document["context"]) if "context" in document else b""
    # TensorFlow Serving's text says classify for a regression, too.
    if "examples" not in document:
        refuse(
            f"JSON Value: {json_text.quote(document)} When method is classify, key 'examples' is "
            "expected and was not found"
        )
    sent = document["examples"]
    if not isinstance(sent, list):
        refuse(
            f"JSON Value: {json_text.quote(document)} Expecting 'examples' value to be an "
            "list/array"
        )
    if not sent:
        refuse(f"JSON Value: {json_text.quote(document)} 'examples' value is an empty array")
    # Messages that follow each other are one message: features of both, the example's win.
    return [context + _example(item) for item in sent]


def _example(value: Any) -> bytes:
    if not isinstance(value, dict):
        refuse(f"Example must be JSON object but got JSON {json_values.kind(value)}")
    features = b""
    for name, content in value.items():
        feature = feature_pb2.Feature()
        for item in content if isinstance(content, list) else (content,):
            _add(item, name, feature)
        entry = _field(1, json_text.encoded(name)) + _field(2, feature.SerializeToString())
        features += _field(1, entry)
    return _field(1, features) if features else b""


def _field(number: int, content: bytes) -> bytes:
    """A field of bytes on the wire.

    Examples are put together by hand: protobuf's maps take no name that is not UTF-8, TensorFlow
    does.
    """
    return bytes((number << 3 | 2,)) + varint(len(content)) + content


def _add(value: Any, name: str, feature: Any) -> None:
    """Adds a value to a feature, whose first value decides about its kind."""
    kind = type(value)
    if kind is str:
        values = _values(feature, "bytes_list", name)
        values.append(json_text.encoded(value))
    elif kind is dict and json_values.is_base64(value):
        values = _values(feature, "bytes_list", name)
        values.append(json_values.from_base64(value))
    elif kind is bool:
        _values(feature, "int64_list", name).append(int(value))
    elif kind is int:
        values = _values(feature, "int64_list", name)
        if value > json_values.INT64[1]:
            refuse(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
        values.append(value)
    elif kind is float:
        values = _values(feature, "float_list", name)
        values.append(value)
    else:
        refuse(f"Feature: {name} has element with unexpected JSON type: {json_values.kind(value)}")


def _values(feature: Any, kind: str, name: str) -> Any:
    known = feature.WhichOneof("kind")
    if known not in (None, kind):
        refuse(f"Unexpected element type in feature: {name} expecting type: {_KIND_NAMES[known]}")
    return getattr(feature, kind).value
