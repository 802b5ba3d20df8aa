"""What JSON means to the REST API, and how answers are written as JSON."""

from __future__ import annotations

import json
import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from numpy.typing import NDArray
from tensorflow.core.example import example_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from serving.local.apis.classification import Classes
from serving.local.apis.prediction import Prediction
from serving.local.errors import ServingError
from serving.local.rest import json_examples, json_outputs, json_tensors, json_text
from serving.local.signature import Signature, from_signature_def


def signature(inputs: dict[str, int] | None = None, **outputs: int) -> Signature:
    message = meta_graph_pb2.SignatureDef()
    for alias, dtype in (inputs or {}).items():
        message.inputs[alias].dtype = dtype
    for alias, dtype in outputs.items():
        message.outputs[alias].dtype = dtype
    return from_signature_def("serving_default", message)


def parsed_examples(body: str) -> list[str]:
    """The examples in text form, on one line each."""
    sent = json_examples.parse_examples(json_text.loads(body.encode()))
    return [
        text_format.MessageToString(example_pb2.Example.FromString(one), as_one_line=True)
        for one in sent
    ]


def feature(kind: str, *values: str, name: str = "x") -> str:
    lines = " ".join(f"value: {value}" for value in values)
    return f'features {{ feature {{ key: "{name}" value {{ {kind} {{ {lines} }} }} }} }}'


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1", feature("int64_list", "1")),
        ("-0", feature("int64_list", "0")),
        ("true", feature("int64_list", "1")),
        ("[false, 7, true]", feature("int64_list", "0", "7", "1")),
        ("-9223372036854775808", feature("int64_list", "-9223372036854775808")),
        ("1.5", feature("float_list", "1.5")),
        ("[1.0, NaN, -Infinity]", feature("float_list", "1.0", "nan", "-inf")),
        ("18446744073709551616", feature("float_list", "1.8446744e+19")),
        ("[1e39, -1e39]", feature("float_list", "inf", "-inf")),
        ('"ab"', feature("bytes_list", '"ab"')),
        ('["ü", {"b64": "AAE="}]', feature("bytes_list", '"\\303\\274"', '"\\000\\001"')),
    ],
)
def test_the_kind_of_a_feature_is_that_of_its_values(value: str, expected: str) -> None:
    assert parsed_examples(f'{{"examples": [{{"x": {value}}}]}}') == [expected]


def test_an_empty_list_is_a_feature_without_a_kind() -> None:
    assert parsed_examples('{"examples": [{"x": []}, {}]}') == [
        'features { feature { key: "x" value { } } }',
        "",
    ]


def test_a_feature_may_have_a_name_that_is_not_utf8() -> None:
    document = json_text.loads(b'{"context": {"\\udc00": 1}, "examples": [{"\xff": 1, "x": 2.5}]}')

    (sent,) = json_examples.parse_examples(document)

    x = tf.io.parse_single_example(sent, {"x": tf.io.FixedLenFeature([], tf.float32)})["x"]
    assert x.numpy() == 2.5
    assert b"\x0a\x01\xff" in sent
    assert b"\x0a\x03\xed\xb0\x80" in sent


def test_the_context_is_a_part_of_every_example_and_yields_to_it() -> None:
    body = '{"context": {"x": 1, "y": "c"}, "examples": [{"x": 2}, {}]}'

    first, second = (
        example_pb2.Example.FromString(one).features.feature
        for one in json_examples.parse_examples(json_text.loads(body.encode()))
    )

    assert (first["x"].int64_list.value, first["y"].bytes_list.value) == ([2], [b"c"])
    assert (second["x"].int64_list.value, second["y"].bytes_list.value) == ([1], [b"c"])


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("{}", "JSON Value: {} When method is classify, key 'examples' is expected and was not"),
        ('{"examples": {}}', "JSON Value: {\n    \"examples\": {}\n} Expecting 'examples' value "),
        ('{"examples": []}', "JSON Value: {\n    \"examples\": []\n} 'examples' value is an empty"),
        ('{"examples": [3]}', "Example must be JSON object but got JSON Number"),
        ('{"examples": [null]}', "Example must be JSON object but got JSON Null"),
        ('{"context": [], "examples": 1}', "Example must be JSON object but got JSON Array"),
        ('{"examples": [{"x": null}]}', "Feature: x has element with unexpected JSON type: Null"),
        ('{"examples": [{"x": [[1]]}]}', "Feature: x has element with unexpected JSON type: Array"),
        ('{"examples": [{"x": {"a": 1}}]}', "Feature: x has element with unexpected JSON type: Ob"),
        ('{"examples": [{"x": [1, 2.5]}]}', "Unexpected element type in feature: x expecting type"),
        ('{"examples": [{"x": ["a", 1]}]}', "Unexpected element type in feature: x expecting type"),
        ('{"examples": [{"x": 9223372036854775808}]}', "Feature: x has uint64_t element. Only int"),
        ('{"examples": [{"x": {"b64": "*"}}]}', "Unable to base64 decode"),
    ],
)
def test_what_is_no_example_is_refused(body: str, text: str) -> None:
    with pytest.raises(ServingError) as refused:
        parsed_examples(body)

    assert refused.value.code.name == "INVALID_ARGUMENT"
    assert refused.value.text.startswith(text)


@pytest.mark.parametrize(
    ("values", "kind"), [("[1.5, 2]", "float"), ('["a", 1]', "bytes"), ("[true, 1.5]", "int64")]
)
def test_the_first_value_decides_about_the_kind_of_a_feature(values: str, kind: str) -> None:
    with pytest.raises(ServingError, match=f"feature: x expecting type: {kind}$"):
        parsed_examples(f'{{"examples": [{{"x": {values}}}]}}')


def parse(body: Any, **inputs: int) -> dict[str, Any]:
    document = json_text.loads((body if isinstance(body, str) else json.dumps(body)).encode())
    found = json_tensors.parse_inputs(document, signature(inputs))
    return {alias: (array.dtype, array.tolist()) for alias, array in found.inputs.items()}


@pytest.mark.parametrize(
    ("dtype", "sent", "array"),
    [
        (1, [1, 2.5], np.array([1, 2.5], np.float32)),
        (2, [[1], [-2.5]], np.array([[1], [-2.5]])),
        (4, [300, -1], np.array([44, 255], np.uint8)),
        (6, [300, -1], np.array([44, -1], np.int8)),
        (9, [2**63 - 1], np.array([2**63 - 1])),
        (22, [2**32 - 1], np.array([2**32 - 1], np.uint32)),
        (23, [2**64 - 1], np.array([2**64 - 1], np.uint64)),
        (10, [True, False], np.array([True, False])),
        (7, ["a", {"b64": "AAE"}], np.array([b"a", b"\0\1"], object)),
        (1, [[], []], np.zeros((2, 0), np.float32)),
        (
            1,
            [2**24 + 1, 1e39, -1e39, 2**64 - 1],
            np.array([2**24, np.inf, -np.inf, 2**64 - 1], "f"),
        ),
        (2, [2**53 + 1, 1e300, 2**64 - 1], np.array([2.0**53, 1e300, 2.0**64])),
    ],
)
def test_rows_and_columns_make_the_same_tensor(dtype: int, sent: Any, array: NDArray[Any]) -> None:
    expected = {"x": (array.dtype, array.tolist())}

    assert parse({"instances": sent}, x=dtype) == expected
    assert parse({"instances": [{"x": row} for row in sent]}, x=dtype) == expected
    assert parse({"inputs": sent}, x=dtype) == expected
    assert parse({"inputs": {"x": sent}}, x=dtype) == expected


@pytest.mark.parametrize(
    ("dtype", "sent", "text"),
    [
        (1, "a", 'JSON Value: "a" Type: String is not of expected type: float'),
        (1, True, "JSON Value: true Type: True is not of expected type: float"),
        (3, 1.0, "JSON Value: 1.0 Type: Number is not of expected type: int32"),
        (3, 3.14159265358979, "JSON Value: 3.14159274 Type: Number is not of expected type: int32"),
        (3, 2**31, "JSON Value: 2147483648 Type: Number is not of expected type: int32"),
        (10, 1, "JSON Value: 1 Type: Number is not of expected type: bool"),
        (7, 1, "JSON Value: 1 Type: Number is not of expected type: string"),
        (7, {"b64": 1}, 'JSON Value: {\n    "b64": 1\n} not formatted correctly for base64 data'),
        (1, {"b64": "AA=="}, 'JSON Value: {\n    "b64": "AA=="\n} Type: Object is not of expected'),
        (17, 1, "Conversion of JSON Value: 1 to type: uint16"),
        (19, 1.5, "Conversion of JSON Value: 1.5 to type: half"),
        (14, 1, "Conversion of JSON Value: 1 to type: bfloat16"),
        (11, 1, "Conversion of JSON Value: 1 to type: qint8"),
        (8, 1, "Conversion of JSON Value: 1 to type: complex64"),
    ],
)
def test_a_value_of_another_type_is_refused(dtype: int, sent: Any, text: str) -> None:
    code = "UNIMPLEMENTED" if text.startswith("Conversion") else "INVALID_ARGUMENT"

    with pytest.raises(ServingError) as column:
        parse({"inputs": {"x": sent}}, x=dtype)
    with pytest.raises(ServingError) as row:
        parse({"instances": [{"x": sent}]}, x=dtype)

    assert column.value.code.name == code
    assert column.value.text.startswith(text)
    assert row.value.code.name == "INVALID_ARGUMENT"
    assert row.value.text.startswith(
        f"Failed to process element: 0 key: x of 'instances' list. Error: {code}: {text}"
    )


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([[1], [2, 3]], "1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting tensor size: 1"),
        ([[1], 2], "1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting shape [1] but got:"),
        ([[1], [[2]]], "1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting shape [1] but "),
        ([[[1], 2]], "0 of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: 2 found at inco"),
        ([[1, [2]]], "0 of 'instances' list. Error: INVALID_ARGUMENT: Encountered list at unexpec"),
        ([[[], [1]]], "0 of 'instances' list. Error: INVALID_ARGUMENT: Encountered list at unexpe"),
        ([{"x": 1}, {}], "1 of 'instances' list. JSON object: {} keys must be equal to: x"),
        ([{"y": 1e-7}], "0 key: y of 'instances' list. Error: INVALID_ARGUMENT: JSON object: does"),
    ],
)
def test_rows_that_do_not_go_together_are_refused(rows: list[Any], text: str) -> None:
    with pytest.raises(ServingError) as refused:
        parse({"instances": rows}, x=1)

    assert refused.value.text.startswith(f"Failed to process element: {text}")


def test_a_signature_without_inputs_is_not_for_rest() -> None:
    with pytest.raises(ServingError, match="Failed to get input map for signature: DEFAULT"):
        parse({"inputs": {}})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1, "0.1"),
        (1.0, "1.0"),
        (-2.5, "-2.5"),
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (1e-6, "0.000001"),
        (1e-7, "1e-7"),
        (1.25e-7, "1.25e-7"),
        (1e20, "100000000000000000000.0"),
        (1e21, "1e21"),
        (1.5e300, "1.5e300"),
        (123456789.125, "123456789.125"),
    ],
)
def test_a_quoted_document_has_rapidjsons_numbers(value: float, text: str) -> None:
    assert json_text.dumps([value]) == f"[{text}]"


@pytest.mark.parametrize("depth", [100, 600, 900, 2000])
@pytest.mark.parametrize("body", ["{}", '{{"examples": {{"x": {}}}}}', '{{"signature_name": {}}}'])
def test_a_document_nested_deeper_than_it_can_be_quoted_is_refused(body: str, depth: int) -> None:
    def read() -> None:
        document = json_text.loads(body.format("[" * depth + "]" * depth).encode())
        json_tensors.signature_name(document)
        json_examples.parse_examples(document)

    with pytest.raises(ServingError) as refused:
        read()

    assert refused.value.code.name == "INVALID_ARGUMENT"


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
        ('{"a": 1', "Missing a comma or '}' after an object member. at offset: 7"),
        ('{"a": [1 2]}', "Missing a comma or ']' after an array element. at offset: 9"),
        ('{"a": nope}', "Invalid value. at offset: 7"),
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


def test_classes_are_written_in_one_line_an_example() -> None:
    labels = np.array([[b"low", b'"h"'], [b"a", b"b"]], object)
    scores = np.array([[0.25, np.nan], [1 / 3, 9e6]], np.float32)

    assert json_outputs.render_classes(Classes(labels, scores)) == (
        '{\n    "results": [[["low", 0.25], ["\\"h\\"", NaN]], '
        '[["a", 0.333333343], ["b", 9e+06]]\n    ]\n}'
    )
    assert json_outputs.render_classes(Classes(None, scores[:1, :1])) == (
        '{\n    "results": [[["", 0.25]]\n    ]\n}'
    )
    assert json_outputs.render_classes(Classes(labels[:1, :0], None)) == (
        '{\n    "results": [[]\n    ]\n}'
    )


def test_values_are_written_in_one_line() -> None:
    found = json_outputs.render_values(np.array([0.5, -np.inf], np.float32))

    assert found == '{\n    "results": [0.5, -Infinity]\n}'


def render(by_row: bool, dtype: int, array: NDArray[Any], alias: str = "y") -> str:
    found = Prediction(signature(**{alias: dtype}), {alias: array})
    return json_outputs.render_outputs(found, by_row)


@pytest.mark.parametrize(
    ("dtype", "array", "text"),
    [
        (1, np.array([0.1], np.float32), "0.1"),
        (2, np.array([0.1]), "0.1"),
        (9, np.array([-(2**63)]), "-9223372036854775808"),
        (23, np.array([2**64 - 1], np.uint64), "18446744073709551615"),
        (10, np.array([True]), "true"),
        (7, np.array(["ü".encode()], object), '"ü"'),
    ],
)
def test_every_dtype_that_json_speaks_is_written(dtype: int, array: Any, text: str) -> None:
    assert render(True, dtype, array) == f'{{\n    "predictions": [{text}\n    ]\n}}'
    assert render(False, dtype, array) == f'{{\n    "outputs": [\n        {text}\n    ]\n}}'


def test_outputs_named_bytes_are_written_as_base64() -> None:
    found = render(True, 7, np.array([b"\0\1"], object), alias="y_bytes")

    assert json.loads(found) == {"predictions": [{"b64": "AAE="}]}


@pytest.mark.parametrize(
    ("dtype", "kind", "name"),
    [
        (19, np.float16, "half"),
        (14, ml_dtypes.bfloat16, "bfloat16"),
        (17, np.uint16, "uint16"),
        (8, np.complex64, "complex64"),
        (11, np.int8, "qint8"),
    ],
)
@pytest.mark.parametrize("by_row", [True, False])
def test_a_dtype_that_json_does_not_speak_is_refused(
    dtype: int, kind: Any, name: str, by_row: bool
) -> None:
    with pytest.raises(ServingError) as refused:
        render(by_row, dtype, np.ones(1, kind))

    assert refused.value.code.name == "INVALID_ARGUMENT"
    assert refused.value.text == f"Failed to write JSON value for tensor type: {name}"


def test_rows_need_a_common_first_size() -> None:
    outputs = {"a": np.zeros(2, np.float32), "b": np.zeros(3, np.float32)}
    with pytest.raises(ServingError, match="Tensor name: b has inconsistent batch size: 3 expect"):
        json_outputs.render_outputs(Prediction(signature(a=1, b=1), outputs), by_row=True)
    with pytest.raises(ServingError, match="Tensor name: y has no shape information "):
        render(True, 1, np.zeros((), np.float32))
    with pytest.raises(ServingError, match="Cannot convert empty tensor map to JSON"):
        json_outputs.render_outputs(Prediction(signature(), {}), by_row=True)
