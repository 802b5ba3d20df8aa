"""The requests that many cases are built from."""

from __future__ import annotations

from typing import Final

from google.protobuf import text_encoding, text_format
from tensorflow.core.example import example_pb2

AFFINE: Final = 'model_spec { name: "affine" } '
MANY: Final = 'model_spec { name: "many" } '


def given(name: str, tensor: str) -> str:
    """An entry of a PredictRequest's inputs."""
    return f'inputs {{ key: "{name}" value {{ {tensor} }} }} '


def dims(*sizes: int) -> str:
    """A tensor's shape."""
    return f"tensor_shape {{ {' '.join(f'dim {{ size: {size} }}' for size in sizes)} }}"


X: Final = given("x", f"dtype: DT_FLOAT {dims(2)} float_val: 2 float_val: 4")
A: Final = given("a", f"dtype: DT_FLOAT {dims(1, 3)} float_val: 1 float_val: 2 float_val: 3")
A_NARROW: Final = given("a", f"dtype: DT_FLOAT {dims(1, 2)} float_val: 1 float_val: 2")
B: Final = given("b", f"dtype: DT_INT64 {dims(1)} int64_val: 4")


def x(dtype: str = "FLOAT", shape: str = dims(2), values: str = "float_val: 2 float_val: 4") -> str:
    """Model affine's only input in other forms."""
    return AFFINE + given("x", f"dtype: DT_{dtype} {shape} {values}")


def spec(name: str, choice: str = "", signature: str = "") -> str:
    """A model_spec; `choice` is a version or a label."""
    named = f'signature_name: "{signature}"' if signature else ""
    return f'model_spec {{ name: "{name}" {choice} {named} }} '


def version(number: int) -> str:
    return f"version {{ value: {number} }}"


def label(text: str) -> str:
    return f'version_label: "{text}"'


def examples(*values: float) -> str:
    """An input of tf.Examples, each with a float feature x."""
    rows = " ".join(f"examples {{ {feature('x', value)} }}" for value in values)
    return f"input {{ example_list {{ {rows} }} }} "


def feature(name: str, value: float) -> str:
    """The features of a tf.Example with one float."""
    held = f"float_list {{ value: {value} }}"
    return f'features {{ feature {{ key: "{name}" value {{ {held} }} }} }}'


def serialized(*values: float) -> str:
    """The shape and values of a tensor of serialized tf.Examples."""
    rows = [text_format.Parse(feature("x", value), example_pb2.Example()) for value in values]
    strings = [text_encoding.CEscape(row.SerializeToString(), as_utf8=False) for row in rows]
    return f"{dims(len(rows))} " + " ".join(f'string_val: "{text}"' for text in strings)
