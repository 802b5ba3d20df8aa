"""Predict: every dtype in both encodings, through signatures that hand back what they get."""

from __future__ import annotations

import base64
import struct
from typing import Any

from google.protobuf import text_encoding

from tests.conformance.case import (
    Answer,
    Case,
    Subject,
    floats,
    invalid,
    own,
    predict,
    predicted,
    recorded,
    spec as answer_spec,
    tensor,
)
from tests.conformance.table.requests import dims, given, spec

# dtype of the signature, DataType, field, values as sent, values as answered, content.
DTYPES: tuple[tuple[str, str, str, list[Any], list[Any], bytes], ...] = (
    ("float32", "FLOAT", "float_val", [0.5, -2], [0.5, -2.0], struct.pack("<2f", 0.5, -2)),
    ("float64", "DOUBLE", "double_val", [0.1, -2], [0.1, -2.0], struct.pack("<2d", 0.1, -2)),
    # Half precision travels as its bits: 15360 is 1.0, 49152 is -2.0.
    ("float16", "HALF", "half_val", [15360, 49152], [15360, 49152], struct.pack("<2e", 1, -2)),
    ("bfloat16", "BFLOAT16", "half_val", [16256, 49152], [16256, 49152], b"\x80\x3f\x00\xc0"),
    ("int8", "INT8", "int_val", [1, -128], [1, -128], struct.pack("<2b", 1, -128)),
    ("int16", "INT16", "int_val", [1, -(2**15)], [1, -(2**15)], struct.pack("<2h", 1, -(2**15))),
    ("int32", "INT32", "int_val", [1, -(2**31)], [1, -(2**31)], struct.pack("<2i", 1, -(2**31))),
    (
        "int64",
        "INT64",
        "int64_val",
        [1, -(2**63)],
        ["1", str(-(2**63))],
        struct.pack("<2q", 1, -(2**63)),
    ),
    ("uint8", "UINT8", "int_val", [1, 255], [1, 255], struct.pack("<2B", 1, 255)),
    ("uint16", "UINT16", "int_val", [1, 2**16 - 1], [1, 2**16 - 1], struct.pack("<2H", 1, 65535)),
    (
        "uint32",
        "UINT32",
        "uint32_val",
        [1, 2**32 - 1],
        [1, 2**32 - 1],
        struct.pack("<2I", 1, 2**32 - 1),
    ),
    (
        "uint64",
        "UINT64",
        "uint64_val",
        [1, 2**64 - 1],
        ["1", str(2**64 - 1)],
        struct.pack("<2Q", 1, 2**64 - 1),
    ),
    ("bool", "BOOL", "bool_val", ["true", "false"], [True, False], b"\x01\x00"),
    # All lengths come first, then all bytes.
    ("string", "STRING", "string_val", [r'"a\000"', '""'], ["YQA=", ""], b"\x02\x00a\x00"),
    (
        "complex64",
        "COMPLEX64",
        "scomplex_val",
        [1, 2, 3, -4],
        [1.0, 2.0, 3.0, -4.0],
        struct.pack("<4f", 1, 2, 3, -4),
    ),
    (
        "complex128",
        "COMPLEX128",
        "dcomplex_val",
        [1, 2, 3, -4],
        [1.0, 2.0, 3.0, -4.0],
        struct.pack("<4d", 1, 2, 3, -4),
    ),
)


def echo(signature: str, held: str) -> Any:
    return predict(spec("echo", signature=signature) + given("x", held))


def echoed(signature: str, y: dict[str, Any]) -> Answer:
    return predicted("echo", 1, signature, y=y)


def _cases() -> list[Case]:
    found = []
    for name, dtype, field, sent, answered, content in DTYPES:
        expected = echoed(name, tensor(dtype, [2], **{field: answered}))
        values = " ".join(f"{field}: {value}" for value in sent)
        escaped = text_encoding.CEscape(content, as_utf8=False)
        form = f"dtype: DT_{dtype} {dims(2)}"
        found += [
            recorded(f"{name} in values", echo(name, f"{form} {values}"), expected),
            recorded(
                f"{name} in content",
                echo(name, f'{form} tensor_content: "{escaped}"'),
                expected,
            ),
            recorded(
                f"{name} as content, when the server is told to answer so",
                echo(name, f"{form} {values}"),
                Answer(
                    {
                        "outputs": {
                            "y": tensor(
                                dtype, [2], tensor_content=base64.b64encode(content).decode()
                            )
                        },
                        "model_spec": answer_spec("echo", 1, name),
                    }
                ),
                "flags",
            ),
        ]
    return found


SUBJECT = Subject(
    "Predict dtypes",
    (
        *_cases(),
        own(
            "truth values that are neither 0 nor 1",
            echo("bool", rf'dtype: DT_BOOL {dims(3)} tensor_content: "\000\002\377"'),
            echoed("bool", tensor("BOOL", [3], bool_val=[False, True, True])),
            "TensorFlow Serving copies such bytes as they are (read in its source)",
        ),
        own(
            "truth values that are neither 0 nor 1, and answers in content",
            echo("bool", rf'dtype: DT_BOOL {dims(3)} tensor_content: "\000\002\377"'),
            echoed("bool", tensor("BOOL", [3], tensor_content="AAEB")),
            "TensorFlow Serving copies such bytes as they are (read in its source)",
            "flags",
        ),
        recorded(
            "small integers are cut",
            echo("uint8", f"dtype: DT_UINT8 {dims(2)} int_val: 300 int_val: -1"),
            echoed("uint8", tensor("UINT8", [2], int_val=[44, 255])),
        ),
        recorded(
            "one complex number for two",
            echo("complex64", f"dtype: DT_COMPLEX64 {dims(2)} scomplex_val: 1 scomplex_val: 2"),
            echoed("complex64", tensor("COMPLEX64", [2], scomplex_val=[1.0, 2.0, 1.0, 2.0])),
        ),
        recorded(
            "one string for two",
            echo("string", f'dtype: DT_STRING {dims(2)} string_val: "a"'),
            echoed("string", tensor("STRING", [2], string_val=["YQ==", "YQ=="])),
        ),
        recorded(
            "strings that are no UTF-8",
            echo("string", rf'dtype: DT_STRING {dims(1)} string_val: "\377\376"'),
            echoed("string", tensor("STRING", [1], string_val=["//4="])),
        ),
        recorded(
            "strings in content whose lengths are too long",
            echo("string", rf'dtype: DT_STRING {dims(2)} tensor_content: "\002\002a"'),
            invalid("tensor parsing error: x"),
        ),
        recorded(
            "strings in content that are cut off",
            echo("string", rf'dtype: DT_STRING {dims(2)} tensor_content: "\377\377\377"'),
            invalid("tensor parsing error: x"),
        ),
        recorded(
            "a rank of eight",
            echo("float32", f"dtype: DT_FLOAT {dims(*[1] * 8)} float_val: 2"),
            echoed("float32", floats(2.0, shape=[1] * 8)),
        ),
        recorded(
            "named dimensions",
            echo(
                "float32", 'dtype: DT_FLOAT tensor_shape { dim { size: 1 name: "n" } } float_val: 2'
            ),
            echoed("float32", floats(2.0)),
        ),
    ),
)
