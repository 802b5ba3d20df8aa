"""The parts of the local server that need no process: tensors, JSON, texts."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf

from serving.local.apis import tensor_proto
from serving.local.errors import ServingError, invalid_argument
from serving.local.rest import json_text

DTYPES = [
    *(tf.float32, tf.float64, tf.float16, tf.bfloat16, tf.int8, tf.int16, tf.int32, tf.int64),
    *(tf.uint8, tf.uint16, tf.uint32, tf.uint64, tf.bool, tf.complex64, tf.complex128),
]


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("as_content", [True, False])
def test_every_dtype_is_read_and_written_as_tensorflow_does(
    dtype: tf.DType, as_content: bool
) -> None:
    array = np.array([[0, 1], [1, 3]]).astype(dtype.as_numpy_dtype)
    sent = tf.make_tensor_proto(array)
    if not as_content:
        sent = type(sent)()
        tensor_proto.encode(array, dtype.as_datatype_enum, sent)

    found = tensor_proto.decode(sent)

    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)
    np.testing.assert_array_equal(tf.make_ndarray(sent), array)


def test_strings_are_read_from_values_and_from_content() -> None:
    proto = tf.make_tensor_proto([b"ab", b"", b"c\x00"])
    content = type(proto)(dtype=proto.dtype, tensor_shape=proto.tensor_shape)
    content.tensor_content = b"\x02\x00\x02abc\x00"

    assert tensor_proto.decode(proto).tolist() == [b"ab", b"", b"c\x00"]
    assert tensor_proto.decode(content).tolist() == [b"ab", b"", b"c\x00"]
    content.tensor_content = b"\x02\x00\x03abc\x00"
    with pytest.raises(tensor_proto.MalformedTensorError):
        tensor_proto.decode(content)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.2, "0.2"),
        (1.0, "1.0"),
        (1 / 3, "0.333333343"),
        (9e6, "9e+06"),
        (3e-5, "3e-05"),
        (math.nan, "NaN"),
        (-math.inf, "-Infinity"),
    ],
)
def test_numbers_are_written_as_tensorflow_serving_writes_float32(value: float, text: str) -> None:
    assert json_text.decimal(float(np.float32(value)), 9) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a" 1}', "Missing a colon after a name of object member. at offset: 5"),
        ('{"a": 1', "Missing a comma or } after an object member. at offset: 7"),
        ('{"a": [1 2]}', "Missing a comma or ] after an array element. at offset: 9"),
        ('{"a": nope}', "Invalid value. at offset: 7"),
        ("{} {}", "The document root must not be followed by other values. at offset: 3"),
        ('{"a": "b', "Missing a closing quotation mark in string. at offset: 8"),
        ('{"ü": nope}', "Invalid value. at offset: 8"),
        ('{"a": "\\ud800"}', "The surrogate pair in string is invalid. at offset: 7"),
        ('{"a": 1e400}', "Number too big to be stored in double. at offset: 6"),
        ("  ", "The document is empty. at offset: 2"),
    ],
)
def test_a_fault_in_json_is_named_in_rapidjsons_words(text: str, words: str) -> None:
    with pytest.raises(ServingError) as refused:
        json_text.loads(text.encode())

    assert refused.value.text == f"JSON Parse error: {words}"


def test_json_is_read_as_rapidjson_reads_it() -> None:
    text = (
        r"""{"a": [Inf, -Infinity, 18446744073709551616, -9223372036854775808, "\udc00"], "a": 2}"""
    )

    found = json_text.loads(text.encode())["a"]

    assert found == [math.inf, -math.inf, 1.8446744073709552e19, -(2**63), "\udced\udcb0\udc80"]


def test_long_texts_are_cut_for_grpc() -> None:
    assert invalid_argument("x" * 1024).grpc_text == "x" * 1024
    assert invalid_argument("x" * 1025).grpc_text == "x" * 1024 + "...TRUNCATED"
