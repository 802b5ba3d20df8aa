"""REST predict: bodies that are refused, with which status and text."""

from __future__ import annotations

from tests.conformance.case import Http, Page, Subject, error, own, post, recorded
from tests.conformance.table.rest_predict import affine, echo, lengths, many

ELEMENT = "Failed to process element: "
NOT_FOUND = "Servable not found for request: "
ROW = '{"instances": [1.0]}'


def refused(text: str) -> Page:
    return error(400, text)


def element(number: int, text: str, key: str = "") -> Page:
    named = f" key: {key}" if key else ""
    return refused(f"{ELEMENT}{number}{named} of 'instances' list. Error: INVALID_ARGUMENT: {text}")


def kind(value: str, name: str, expected: str = "float") -> str:
    return f"JSON Value: {value} Type: {name} is not of expected type: {expected}"


def column(value: str) -> Http:
    return affine(f'{{"inputs": {value}}}')


NAMES = Subject(
    "REST predict names",
    (
        recorded(
            "unknown label",
            post("/v1/models/affine/labels/nope:predict", ROW),
            refused("Unrecognized servable version label: nope"),
        ),
        recorded(
            "unknown version",
            post("/v1/models/affine/versions/9:predict", ROW),
            error(404, NOT_FOUND + "Specific(affine, 9)"),
        ),
        recorded(
            "unknown model",
            post("/v1/models/nope:predict", ROW),
            error(404, NOT_FOUND + "Latest(nope)"),
        ),
        recorded(
            "a faulty body comes before an unknown model",
            post("/v1/models/nope:predict", "{"),
            refused("JSON Parse error: Missing a name for object member. at offset: 1"),
        ),
        recorded(
            "an unknown model comes before a faulty row",
            post("/v1/models/nope:predict", '{"instances": ["a"]}'),
            error(404, NOT_FOUND + "Latest(nope)"),
        ),
        recorded(
            "unknown signature",
            affine('{"signature_name": "nope", "instances": [1.0]}'),
            refused('Serving signature name: "nope" not found in signature def'),
        ),
        recorded(
            "no default signature",
            post("/v1/models/named:predict", ROW),
            refused('Serving signature name: "serving_default" not found in signature def'),
        ),
        recorded(
            "a signature without inputs",
            affine('{"signature_name": "__saved_model_init_op", "instances": [1.0]}'),
            refused("Failed to get input map for signature: __saved_model_init_op"),
        ),
        recorded(
            "a signature that is no name",
            affine('{"signature_name": 5, "instances": [1.0]}'),
            refused(
                'JSON Value: {\n    "signature_name": 5,\n    "instances": [1.0]\n} not formatted '
                "correctly. 'signature_name' key must be a string value."
            ),
        ),
        recorded(
            "unknown input",
            affine('{"instances": [{"z": 1.0}]}'),
            element(0, "JSON object: does not have named input: z", "z"),
        ),
        recorded(
            "missing input",
            many('{"instances": [{"a": [1, 2, 3]}]}'),
            refused(
                ELEMENT
                + "0 of 'instances' list. JSON object: {\n    \"a\": [1, 2, 3]\n} keys must "
                "be equal to: a,b"
            ),
        ),
        recorded(
            "extra input",
            many('{"instances": [{"a": [1, 2, 3], "b": 4, "c": 1}]}'),
            element(0, "JSON object: does not have named input: c", "c"),
        ),
        recorded(
            "missing input in columns",
            many('{"inputs": {"a": [[1, 2, 3]]}}'),
            refused("Missing named input: b in 'inputs' object."),
        ),
        recorded(
            "a missing input in the second row",
            many('{"instances": [{"a": [1, 2, 3], "b": 4}, {"b": 4}]}'),
            refused(ELEMENT + "1 of 'instances' list. JSON object: …keys must be equal to: a,b"),
        ),
        recorded(
            "a plain row for several inputs",
            many('{"instances": [[1, 2, 3]]}'),
            refused(
                "instances is a plain list, but expecting list of objects as multiple input "
                "tensors required as per tensorinfo_map"
            ),
        ),
        recorded(
            "a plain column for several inputs",
            many('{"inputs": [[1, 2, 3]]}'),
            refused(
                "inputs is a plain value/list, but expecting an object as multiple input tensors "
                "required as per tensorinfo_map"
            ),
        ),
        recorded(
            "a plain row after a named one",
            affine('{"instances": [{"x": 1.0}, 1.0]}'),
            refused("Expecting object but got list at item 1 of input list"),
        ),
        recorded(
            "a named row after a plain one",
            affine('{"instances": [1.0, {"x": 1.0}]}'),
            refused("Expecting value/list but got object at item 1 of input list"),
        ),
    ),
)

VALUES = Subject(
    "REST predict values",
    (
        recorded(
            "a word for a number", affine('{"instances": ["a"]}'), element(0, kind('"a"', "String"))
        ),
        recorded(
            "a word in the second row",
            affine('{"instances": [1.0, "a"]}'),
            element(1, kind('"a"', "String")),
        ),
        recorded(
            "null for a number", affine('{"instances": [null]}'), element(0, kind("null", "Null"))
        ),
        recorded(
            "true for a number", affine('{"instances": [true]}'), element(0, kind("true", "True"))
        ),
        recorded(
            "ragged rows",
            affine('{"instances": [[1.0], [2.0, 3.0]]}'),
            element(1, "Expecting tensor size: 1 but got: 2"),
        ),
        recorded(
            "rows of another shape and the same size",
            affine('{"instances": [[1.0, 2.0], [[1.0], [2.0]]]}'),
            element(1, "Expecting shape [2] but got: [2,1]"),
        ),
        recorded(
            "a ragged row",
            affine('{"instances": [[[1.0], [2.0, 3.0]]]}'),
            element(0, "Encountered list at unexpected size: 2 at level: 1 expected size: 1"),
        ),
        recorded(
            "a ragged column",
            column("[[1.0], [2.0, 3.0]]"),
            refused("Encountered list at unexpected size: 2 at level: 1 expected size: 1"),
        ),
        recorded(
            "a list after a number",
            column("[1.0, [2.0]]"),
            refused("Encountered list at unexpected level: 1 expected < 1"),
        ),
        recorded(
            "a number after a list",
            column("[[1.0], 2.0]"),
            refused(
                "JSON Value: 2.0 found at incorrect level: 2 in the JSON DOM. Expected at level: 2"
            ),
        ),
        recorded("a word in a column", column('["a"]'), refused(kind('"a"', "String"))),
        recorded(
            "an object for a number",
            affine('{"instances": [[{"z": 1}]]}'),
            element(0, kind('{\n    "z": 1\n}', "Object")),
        ),
        recorded(
            "a number that float32 cannot hold",
            affine('{"instances": [1e39]}'),
            Page(200, {"predictions": [float("inf")]}),
        ),
        recorded(
            "a whole number that float32 cannot hold",
            affine('{"instances": [16777217]}'),
            Page(200, {"predictions": [8388611.0]}),
        ),
        recorded(
            "a fraction for a whole number",
            many('{"instances": [{"a": [1, 2, 3], "b": 4.5}]}'),
            element(0, kind("4.5", "Number", "int64"), "b"),
        ),
        recorded(
            "a number that int64 cannot hold",
            many('{"instances": [{"a": [1, 2, 3], "b": 9223372036854775808}]}'),
            element(0, kind("9223372036854775808", "Number", "int64"), "b"),
        ),
        recorded(
            "a whole float for a whole number",
            echo("int64", "[4.0]"),
            element(0, kind("4.0", "Number", "int64")),
        ),
        recorded(
            "a negative number for uint64",
            echo("uint64", "[-1]"),
            element(0, kind("-1", "Number", "uint64")),
        ),
        recorded("a number for bool", echo("bool", "[1]"), element(0, kind("1", "Number", "bool"))),
        recorded(
            "a number for a word", echo("string", "[1]"), element(0, kind("1", "Number", "string"))
        ),
        recorded(
            "a dtype that JSON does not have",
            echo("complex64", "[1]"),
            refused(
                ELEMENT + "0 of 'instances' list. Error: UNIMPLEMENTED: Conversion of JSON Value: "
                "1 to type: complex64"
            ),
        ),
        recorded(
            "a column of a dtype that JSON does not have",
            post("/v1/models/echo:predict", '{"signature_name": "complex64", "inputs": 1}'),
            error(501, "Conversion of JSON Value: 1 to type: complex64"),
        ),
        recorded(
            "broken base64", lengths('[{"b64": "***"}]'), element(0, "Unable to base64 decode")
        ),
        recorded(
            "base64 that is no word",
            lengths('[[{"b64": 5}]]'),
            element(0, 'JSON Value: {\n    "b64": 5\n} not formatted correctly for base64 data'),
        ),
        recorded(
            "base64 beside another key",
            lengths('[[{"b64": "YWI=", "z": 1}]]'),
            element(0, "JSON Value: …not formatted correctly for base64 data"),
        ),
        recorded(
            "a scalar answer in rows",
            post(
                "/v1/models/convolution:predict",
                '{"signature_name": "guarded", "instances": [1.0]}',
            ),
            refused("Shape of tensor … [1] is not compatible with expected shape [?,4,4,1].…"),
        ),
        own(
            "an image without its batch",
            post(
                "/v1/models/convolution:predict",
                '{"inputs": ' + str([[[1]] * 4] * 4) + "}",
            ),
            refused("convolution input must be 4-dimensional: [4,4,1]…"),
            "as over gRPC: TensorFlow Serving may end",
            ends=True,
        ),
    ),
)
