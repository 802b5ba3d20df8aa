"""Single JSON values as TensorFlow Serving takes them: their types, numbers and base64."""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final

from serving.local.errors import ServingError, invalid_argument, refuse
from serving.local.rest import json_text

INT64: Final = (-(2**63), 2**63 - 1)
UINT64: Final = (0, 2**64 - 1)


def kind(value: Any) -> str:
    """RapidJSON's name for the type of a value."""
    names = {bool: str(value), str: "String", list: "Array", dict: "Object", type(None): "Null"}
    return names.get(type(value), "Number")


def is_base64(value: Any) -> bool:
    """Whether it is the base64 form of a string, `{"b64": "…"}`."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def from_base64(value: dict[str, Any]) -> bytes:
    """Decodes the base64 form of a string.

    Raises:
        ServingError: INVALID_ARGUMENT.
    """
    if not is_base64(value):
        refuse(f"JSON Value: {json_text.quote(value)} not formatted correctly for base64 data")
    text = value["b64"].rstrip("=")
    try:
        # Without padding is accepted as well.
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid_argument("Unable to base64 decode") from error


def type_error(value: Any, type_name: str) -> ServingError:
    """A value of another type than the tensor's."""
    return invalid_argument(
        f"JSON Value: {json_text.value_text(value)} Type: {kind(value)} "
        f"is not of expected type: {type_name}"
    )
