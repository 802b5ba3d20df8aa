"""What the local server answers, held against what TensorFlow Serving 2.19.1 was seen to answer.

The texts and codes are those of the real server for the same requests to models of the same form.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.local_server_fixtures import (
    RunningServer,
    line_config,
    running_server,
    save_line,
    save_many,
)

LINE = 'model_spec { name: "line" } '
MANY = 'model_spec { name: "many" } '
X = (
    'inputs { key: "x" value { dtype: DT_FLOAT tensor_shape { dim { size: 2 } } '
    "float_val: 2 float_val: 4 } } "
)
A = (
    'inputs { key: "a" value { dtype: DT_FLOAT tensor_shape { dim { size: 1 } dim { size: 3 } } '
    "float_val: 1 float_val: 2 float_val: 3 } } "
)
B = 'inputs { key: "b" value { dtype: DT_INT64 tensor_shape { dim { size: 1 } } int64_val: 4 } } '
EXAMPLE = (
    "input { example_list { examples { features { feature { "
    'key: "x" value { float_list { value: 0.25 } } } } } } } '
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("conformance")
    save_line(folder / "models" / "line" / "1", 2.0)
    save_line(folder / "models" / "line" / "2", 3.0)
    save_many(folder / "models" / "many" / "1")
    config = line_config(
        "specific { versions: 1 versions: 2 }",
        {"stable": 1, "canary": 2},
        'config { name: "many" base_path: "/models/many" model_platform: "tensorflow" }',
    )
    flag = "--allow_version_labels_for_unavailable_models=true"
    with running_server(folder, flag, config=config) as running:
        yield running


def x(dtype: str = "DT_FLOAT", dims: str = "dim { size: 2 }", values: str = "") -> str:
    tensor = f"dtype: {dtype} tensor_shape {{ {dims} }} {values}"
    return LINE + f'inputs {{ key: "x" value {{ {tensor} }} }}'


VALUES = "float_val: 2 float_val: 4"
CONTENT = r'tensor_content: "\000\000\000\100\000\000\200\100"'

ANSWERS = {
    "the latest version": (LINE + X, [4.0, 5.0]),
    "a version": ('model_spec { name: "line" version { value: 1 } } ' + X, [3.0, 4.0]),
    "a label": ('model_spec { name: "line" version_label: "stable" } ' + X, [3.0, 4.0]),
    "another label": ('model_spec { name: "line" version_label: "canary" } ' + X, [4.0, 5.0]),
    "a named signature": (
        'model_spec { name: "line" signature_name: "serving_default" } ' + X,
        [4.0, 5.0],
    ),
    "tensor content": (x(values=CONTENT), [4.0, 5.0]),
    "content before values": (x(values=CONTENT + " float_val: 1 float_val: 1"), [4.0, 5.0]),
    "one value for two": (x(values="float_val: 7"), [6.5, 6.5]),
    "three values for two": (x(values="float_val: 1 float_val: 2 float_val: 3"), [3.5, 4.0]),
    "no values": (x(), [3.0, 3.0]),
    "values of another dtype": (x(values="int_val: 2 int_val: 4"), [3.0, 3.0]),
    "a scalar for a vector": (x(dims="", values="float_val: 2"), [4.0]),
    "a matrix for a vector": (x(dims="dim { size: 1 } dim { size: 2 }", values=VALUES), [4.0, 5.0]),
    "an unknown rank": (x(dims="unknown_rank: true", values=VALUES), [4.0]),
    "an empty batch": (x(dims="dim { size: 0 }"), []),
    "values that are not numbers": (x(values="float_val: nan float_val: inf"), ["NaN", "Infinity"]),
}

NOT_FOUND = "Servable not found for request: "
NO_MATCH = "input size does not match signature: "

PREDICT_ERRORS = {
    "no model spec": (X, "INVALID_ARGUMENT", "Missing ModelSpec"),
    "no model name": (
        "model_spec { } " + X,
        "INVALID_ARGUMENT",
        "ModelSpec has no name specified.",
    ),
    "an unknown model": ('model_spec { name: "no" } ' + X, "NOT_FOUND", NOT_FOUND + "Latest(no)"),
    "an unknown version": (
        'model_spec { name: "line" version { value: 9 } } ' + X,
        "NOT_FOUND",
        NOT_FOUND + "Specific(line, 9)",
    ),
    "version zero": (
        'model_spec { name: "line" version { value: 0 } } ' + X,
        "NOT_FOUND",
        NOT_FOUND + "Specific(line, 0)",
    ),
    "a negative version": (
        'model_spec { name: "line" version { value: -1 } } ' + X,
        "NOT_FOUND",
        NOT_FOUND + "Specific(line, -1)",
    ),
    "an unknown label": (
        'model_spec { name: "line" version_label: "no" } ' + X,
        "INVALID_ARGUMENT",
        "Unrecognized servable version label: no",
    ),
    "an empty label": (
        'model_spec { name: "line" version_label: "" } ' + X,
        "INVALID_ARGUMENT",
        "Unrecognized servable version label: ",
    ),
    "a label of a model without labels": (
        'model_spec { name: "many" version_label: "stable" } ' + A + B,
        "INVALID_ARGUMENT",
        "Unrecognized servable version label: stable",
    ),
    "an unknown signature": (
        'model_spec { name: "line" signature_name: "no" } ' + X,
        "FAILED_PRECONDITION",
        'Serving signature key "no" not found.',
    ),
    "the initializer as a signature": (
        'model_spec { name: "line" signature_name: "__saved_model_init_op" } ' + X,
        "INVALID_ARGUMENT",
        NO_MATCH + "1!=0 len({x}) != len({}). Sent extra: {x}. Missing but required: {}.",
    ),
    "no inputs": (
        LINE,
        "INVALID_ARGUMENT",
        NO_MATCH + "0!=1 len({}) != len({x}). Sent extra: {}. Missing but required: {x}.",
    ),
    "a missing input": (
        MANY + A,
        "INVALID_ARGUMENT",
        NO_MATCH + "1!=2 len({a}) != len({a,b}). Sent extra: {}. Missing but required: {b}.",
    ),
    "an extra input": (
        MANY + A + B + X,
        "INVALID_ARGUMENT",
        NO_MATCH + "3!=2 len({a,b,x}) != len({a,b}). Sent extra: {x}. Missing but required: {}.",
    ),
    "a wrong input name": (
        LINE + X.replace('"x"', '"z"'),
        "INVALID_ARGUMENT",
        "Signature input alias: x(feed name: serving_default_x:0) not found in request and no "
        "default value provided. Inputs expected to be in the request {z}, or default input alias "
        "set: ",
    ),
    "int32 for float": (
        x("DT_INT32", values="int_val: 2"),
        "INVALID_ARGUMENT",
        "Expects arg[0] to be float but int32 is provided",
    ),
    "double for float": (
        x("DT_DOUBLE", values="double_val: 2"),
        "INVALID_ARGUMENT",
        "Expects arg[0] to be float but double is provided",
    ),
    "string for float": (
        x("DT_STRING", values='string_val: "a"'),
        "INVALID_ARGUMENT",
        "Expects arg[0] to be float but string is provided",
    ),
    "no dtype": (x("DT_INVALID", values=VALUES), "INVALID_ARGUMENT", "tensor parsing error: x"),
    "a negative dimension": (
        x(dims="dim { size: -1 }", values=VALUES),
        "INVALID_ARGUMENT",
        "tensor parsing error: x",
    ),
    "a huge dimension": (
        x(dims="dim { size: 1099511627776 }"),
        "INVALID_ARGUMENT",
        "tensor parsing error: x",
    ),
    "overflowing dimensions": (
        x(dims="dim { size: 4611686018427387904 } dim { size: 4 }"),
        "INVALID_ARGUMENT",
        "tensor parsing error: x",
    ),
    "content too short": (
        x(values=r'tensor_content: "\000\000\000\100"'),
        "INVALID_ARGUMENT",
        "tensor parsing error: x",
    ),
    "an unknown output": (
        MANY + 'output_filter: "no" ' + A + B,
        "INVALID_ARGUMENT",
        "output tensor alias not found in signature: no Outputs expected to be in the set "
        "{name,parity,total}.",
    ),
    "an output twice": (
        MANY + 'output_filter: "parity" output_filter: "parity" ' + A + B,
        "INVALID_ARGUMENT",
        "duplicate output tensor alias: parity",
    ),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_predict_answers_as_the_real_server(server: RunningServer, case: str) -> None:
    request, expected = ANSWERS[case]

    found = server.ask("Predict", request)

    assert found["answer"]["outputs"]["y"].get("float_val", []) == expected
    assert found["answer"]["model_spec"]["version"] in ("1", "2")
    assert found["answer"]["model_spec"]["signature_name"] == "serving_default"
    assert "version_label" not in found["answer"]["model_spec"]


@pytest.mark.parametrize("case", PREDICT_ERRORS)
def test_predict_refuses_as_the_real_server(server: RunningServer, case: str) -> None:
    request, code, text = PREDICT_ERRORS[case]

    assert server.ask("Predict", request) == {"code": code, "text": text}


def test_predict_computes_only_the_outputs_that_are_asked_for(server: RunningServer) -> None:
    found = server.ask("Predict", MANY + 'output_filter: "parity" ' + A + B)

    assert list(found["answer"]["outputs"]) == ["parity"]


def test_predict_answers_every_dtype_in_its_own_field(server: RunningServer) -> None:
    outputs = server.ask("Predict", MANY + A + B)["answer"]["outputs"]

    assert outputs["total"]["float_val"] == [10.0]
    assert outputs["parity"]["bool_val"] == [True]
    assert outputs["name"]["string_val"] == ["NA=="]


def test_strings_keep_their_length(server: RunningServer) -> None:
    found = server.ask(
        "Predict",
        'model_spec { name: "many" signature_name: "lengths" } inputs { key: "text" value { '
        'dtype: DT_STRING tensor_shape { dim { size: 2 } } string_val: "a\\000" string_val: "" } }',
    )

    assert found["answer"]["outputs"]["length"]["int_val"] == [2, 0]


def test_a_guard_in_the_graph_answers_with_its_own_words(server: RunningServer) -> None:
    narrow = A.replace("dim { size: 3 }", "dim { size: 2 }")

    found = server.ask("Predict", 'model_spec { name: "many" signature_name: "guarded" } ' + narrow)

    assert found["code"] == "INVALID_ARGUMENT"
    assert "[1,2] is not compatible with expected shape [?,3]" in found["text"]


OTHER_ERRORS = {
    "metadata without a field": (
        "GetModelMetadata",
        LINE,
        "INVALID_ARGUMENT",
        "GetModelMetadataRequest must specify at least one metadata_field",
    ),
    "an unknown metadata field": (
        "GetModelMetadata",
        LINE + 'metadata_field: "no"',
        "INVALID_ARGUMENT",
        "Metadata field no is not supported",
    ),
    "metadata without a spec": (
        "GetModelMetadata",
        'metadata_field: "signature_def"',
        "INVALID_ARGUMENT",
        "Missing ModelSpec",
    ),
    "metadata of an unknown model": (
        "GetModelMetadata",
        'model_spec { name: "no" } metadata_field: "signature_def"',
        "NOT_FOUND",
        NOT_FOUND + "Latest(no)",
    ),
    "metadata of an unknown label": (
        "GetModelMetadata",
        'model_spec { name: "line" version_label: "no" } metadata_field: "signature_def"',
        "INVALID_ARGUMENT",
        "Unrecognized servable version label: no",
    ),
    "status without a spec": ("GetModelStatus", "", "INVALID_ARGUMENT", "Missing ModelSpec"),
    "status of an unknown model": (
        "GetModelStatus",
        'model_spec { name: "no" }',
        "NOT_FOUND",
        "Could not find any versions of model no",
    ),
    "status of an unknown version": (
        "GetModelStatus",
        'model_spec { name: "line" version { value: 9 } }',
        "NOT_FOUND",
        "Could not find version 9 of model line",
    ),
    "classify with an unknown model": (
        "Classify",
        'model_spec { name: "no" } ' + EXAMPLE,
        "NOT_FOUND",
        NOT_FOUND + "Latest(no)",
    ),
    "classify with an unknown signature": (
        "Classify",
        'model_spec { name: "line" signature_name: "no" } ' + EXAMPLE,
        "INVALID_ARGUMENT",
        "No signature was found with the name: no",
    ),
    "classify without examples": (
        "Classify",
        'model_spec { name: "many" signature_name: "classify" }',
        "INVALID_ARGUMENT",
        "Input is empty.",
    ),
}


@pytest.mark.parametrize("case", OTHER_ERRORS)
def test_the_other_calls_refuse_as_the_real_server(server: RunningServer, case: str) -> None:
    method, request, code, text = OTHER_ERRORS[case]

    assert server.ask(method, request) == {"code": code, "text": text}


LINE_SIGNATURE = """\
inputs {
  key: "x"
  value {
    name: "serving_default_x:0"
    dtype: DT_FLOAT
    tensor_shape {
      dim {
        size: -1
      }
    }
  }
}
outputs {
  key: "y"
  value {
    name: "StatefulPartitionedCall:0"
    dtype: DT_FLOAT
    tensor_shape {
      dim {
        size: -1
      }
    }
  }
}
method_name: "tensorflow/serving/predict"
"""


def test_classify_wants_a_signature_with_inputs(server: RunningServer) -> None:
    found = server.ask("Classify", LINE + EXAMPLE)

    assert found["code"] == "INVALID_ARGUMENT"
    assert found["text"] == "No classification inputs found in SignatureDef: " + LINE_SIGNATURE


def test_classify_answers_classes_with_scores(server: RunningServer) -> None:
    found = server.ask(
        "Classify", 'model_spec { name: "many" signature_name: "classify" } ' + EXAMPLE
    )

    assert found["answer"]["result"]["classifications"] == [
        {"classes": [{"label": "low", "score": 0.75}, {"label": "high", "score": 0.25}]}
    ]


@pytest.mark.parametrize(("spec", "version"), [("", "2"), ('version_label: "stable"', "1")])
def test_metadata_describes_the_version_meant(
    server: RunningServer, spec: str, version: str
) -> None:
    found = server.ask(
        "GetModelMetadata",
        f'model_spec {{ name: "line" {spec} }} metadata_field: "signature_def"',
    )["answer"]

    assert found["model_spec"] == {"name": "line", "version": version}
    described = found["metadata"]["signature_def"]
    assert described["@type"] == "type.googleapis.com/tensorflow.serving.SignatureDefMap"
    assert set(described["signature_def"]) == {"serving_default", "__saved_model_init_op"}


@pytest.mark.parametrize("spec", ["", 'version_label: "stable"', 'version_label: "no"'])
def test_status_ignores_the_label(server: RunningServer, spec: str) -> None:
    found = server.ask("GetModelStatus", f'model_spec {{ name: "line" {spec} }}')

    assert found["answer"]["model_version_status"] == [
        {"version": "2", "state": "AVAILABLE", "status": {}},
        {"version": "1", "state": "AVAILABLE", "status": {}},
    ]


PREDICT = "/v1/models/line:predict"
MANY_PREDICT = "/v1/models/many:predict"
ELEMENT = "Failed to process element: "

REST_ANSWERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "rows": (PREDICT, '{"instances": [1.0, 2.0]}', {"predictions": [3.5, 4.0]}),
    "rows of whole numbers": (PREDICT, '{"instances": [1, 2]}', {"predictions": [3.5, 4.0]}),
    "named rows": (PREDICT, '{"instances": [{"x": 1.0}]}', {"predictions": [3.5]}),
    "columns": (PREDICT, '{"inputs": [1.0, 2.0]}', {"outputs": [3.5, 4.0]}),
    "named columns": (PREDICT, '{"inputs": {"x": [1.0]}}', {"outputs": [3.5]}),
    "a version": (
        "/v1/models/line/versions/1:predict",
        '{"instances": [1.0]}',
        {"predictions": [2.5]},
    ),
    "a label": (
        "/v1/models/line/labels/stable:predict",
        '{"instances": [1]}',
        {"predictions": [2.5]},
    ),
    "an empty signature name": (
        PREDICT,
        '{"signature_name": "", "instances": [1.0]}',
        {"predictions": [3.5]},
    ),
    "several outputs in rows": (
        MANY_PREDICT,
        '{"instances": [{"a": [1, 2, 3], "b": 4}]}',
        {"predictions": [{"total": 10.0, "name": "4", "parity": True}]},
    ),
    "several outputs in columns": (
        MANY_PREDICT,
        '{"inputs": {"a": [[1, 2, 3]], "b": [4]}}',
        {"outputs": {"name": ["4"], "parity": [True], "total": [10.0]}},
    ),
    "bytes": (
        MANY_PREDICT,
        '{"signature_name": "lengths", "instances": [{"text": {"b64": "YWI="}}, {"text": "abc"}]}',
        {"predictions": [2, 3]},
    ),
    "bytes of the only input": (
        MANY_PREDICT,
        '{"signature_name": "lengths", "instances": [{"b64": "YWI="}]}',
        {"predictions": [2]},
    ),
}

REST_ERRORS = {
    "no body": (PREDICT, "", 400, "JSON Parse error: The document is empty"),
    "half an object": (
        PREDICT,
        "{",
        400,
        "JSON Parse error: Missing a name for object member. at offset: 1",
    ),
    "an array": (PREDICT, "[]", 400, "JSON Value: [] Is not object"),
    "an empty object": (PREDICT, "{}", 400, "Missing 'inputs' or 'instances' key"),
    "no rows": (
        PREDICT,
        '{"instances": []}',
        400,
        "JSON Value: {\n    \"instances\": []\n} No values in 'instances' array",
    ),
    "rows that are no list": (
        PREDICT,
        '{"instances": 1.0}',
        400,
        "JSON Value: {\n    \"instances\": 1.0\n} Expecting 'instances' to be an list/array",
    ),
    "both formats": (
        PREDICT,
        '{"instances": [1.0], "inputs": [1.0]}',
        400,
        'JSON Value: {\n    "instances": [1.0],\n    "inputs": [1.0]\n} Not formatted correctly '
        "expecting only one of 'inputs' or 'instances' keys to exist ",
    ),
    "a word for a number": (
        PREDICT,
        '{"instances": [1.0, "a"]}',
        400,
        ELEMENT
        + "1 of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: \"a\" Type: String is "
        "not of expected type: float",
    ),
    "null for a number": (
        PREDICT,
        '{"instances": [null]}',
        400,
        ELEMENT + "0 of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: null Type: Null is "
        "not of expected type: float",
    ),
    "ragged rows": (
        PREDICT,
        '{"instances": [[1.0], [2.0, 3.0]]}',
        400,
        ELEMENT + "1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting tensor size: 1 but "
        "got: 2",
    ),
    "an unknown input": (
        PREDICT,
        '{"instances": [{"z": 1.0}]}',
        400,
        ELEMENT + "0 key: z of 'instances' list. Error: INVALID_ARGUMENT: JSON object: does not "
        "have named input: z",
    ),
    "a missing input": (
        MANY_PREDICT,
        '{"instances": [{"a": [1, 2, 3]}]}',
        400,
        ELEMENT
        + "0 of 'instances' list. JSON object: {\n    \"a\": [1, 2, 3]\n} keys must be equal "
        "to: a,b",
    ),
    "a plain row for several inputs": (
        MANY_PREDICT,
        '{"instances": [[1, 2, 3]]}',
        400,
        "instances is a plain list, but expecting list of objects as multiple input tensors "
        "required as per tensorinfo_map",
    ),
    "a fraction for a whole number": (
        MANY_PREDICT,
        '{"instances": [{"a": [1, 2, 3], "b": 4.5}]}',
        400,
        ELEMENT + "0 key: b of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: 4.5 Type: "
        "Number is not of expected type: int64",
    ),
    "broken base64": (
        MANY_PREDICT,
        '{"signature_name": "lengths", "instances": [{"b64": "***"}]}',
        400,
        ELEMENT + "0 of 'instances' list. Error: INVALID_ARGUMENT: Unable to base64 decode",
    ),
    "a number too big": (
        PREDICT,
        '{"instances": [1e400]}',
        400,
        "JSON Parse error: Number too big to be stored in double. at offset: 15",
    ),
    "an unknown signature": (
        PREDICT,
        '{"signature_name": "no", "instances": [1.0]}',
        400,
        'Serving signature name: "no" not found in signature def',
    ),
    "a signature that is no name": (
        PREDICT,
        '{"signature_name": 5, "instances": [1.0]}',
        400,
        'JSON Value: {\n    "signature_name": 5,\n    "instances": [1.0]\n} not formatted '
        "correctly. 'signature_name' key must be a string value.",
    ),
    "an unknown model": (
        "/v1/models/no:predict",
        '{"instances": [1.0]}',
        404,
        NOT_FOUND + "Latest(no)",
    ),
    "an unknown version": (
        "/v1/models/line/versions/9:predict",
        '{"instances": [1.0]}',
        404,
        NOT_FOUND + "Specific(line, 9)",
    ),
    "an unknown label": (
        "/v1/models/line/labels/no:predict",
        '{"instances": [1.0]}',
        400,
        "Unrecognized servable version label: no",
    ),
    "an unknown verb": (
        "/v1/models/line:no",
        "{}",
        400,
        "Malformed request: POST /v1/models/line:no",
    ),
    "a body for a page": ("/v1/models/line", "{}", 400, "Malformed request: POST /v1/models/line"),
}

PAGES = {
    "/v1/models": (400, "Missing model name in request."),
    "/v1/models/": (400, "Malformed request: GET /v1/models/"),
    "/v1/models/no": (404, "Could not find any versions of model no"),
    "/v1/models/line/versions/9": (404, "Could not find version 9 of model line"),
    "/v1/models/line:predict": (400, "Malformed request: GET /v1/models/line:predict"),
    "/v1/models/line/labels/no/metadata": (400, "Unrecognized servable version label: no"),
    "/v1/models/no/metadata": (404, NOT_FOUND + "Latest(no)"),
    "/v1/models/../../etc/passwd": (400, "Malformed request: GET /v1/models/../../etc/passwd"),
    "/v1/models/line%2Fversions": (404, "Could not find any versions of model line/versions"),
}


@pytest.mark.parametrize("case", REST_ANSWERS)
def test_rest_answers_as_the_real_server(server: RunningServer, case: str) -> None:
    path, body, expected = REST_ANSWERS[case]

    status, content_type, text = server.rest("POST", path, body)

    assert (status, content_type) == (200, "application/json")
    assert json.loads(text) == expected


@pytest.mark.parametrize("case", REST_ERRORS)
def test_rest_refuses_as_the_real_server(server: RunningServer, case: str) -> None:
    path, body, expected_status, expected_text = REST_ERRORS[case]

    status, content_type, text = server.rest("POST", path, body)

    assert (status, content_type) == (expected_status, "application/json")
    assert json.loads(text) == {"error": expected_text}


@pytest.mark.parametrize("path", PAGES)
def test_rest_pages_refuse_as_the_real_server(server: RunningServer, path: str) -> None:
    expected_status, expected_text = PAGES[path]

    status, _, text = server.rest("GET", path)

    assert (status, json.loads(text)) == (expected_status, {"error": expected_text})


def test_rest_is_laid_out_as_the_real_server_lays_it_out(server: RunningServer) -> None:
    rows = server.rest("POST", PREDICT, '{"instances": [1.0, 2.0]}')[2]
    columns = server.rest("POST", PREDICT, '{"inputs": [1.0, 2.0]}')[2]
    error = server.rest("POST", PREDICT, "{}")[2]

    assert rows == '{\n    "predictions": [3.5, 4.0\n    ]\n}'
    assert columns == '{\n    "outputs": [\n        3.5,\n        4.0\n    ]\n}'
    assert error == "{\n    \"error\": \"Missing 'inputs' or 'instances' key\"\n}"


def test_rest_writes_what_is_not_a_number_as_such(server: RunningServer) -> None:
    status, _, text = server.rest("POST", PREDICT, '{"instances": [NaN, Infinity, -Infinity]}')

    assert status == 200
    assert text == '{\n    "predictions": [NaN, Infinity, -Infinity\n    ]\n}'


@pytest.mark.parametrize("path", ["/", "/v2/models/line"])
def test_outside_of_the_api_there_is_no_page(server: RunningServer, path: str) -> None:
    status, content_type, text = server.rest("GET", path)

    assert (status, content_type) == (404, "text/html")
    assert "404 Not Found" in text


@pytest.mark.parametrize("verb", ["PUT", "DELETE"])
def test_other_methods_are_malformed(server: RunningServer, verb: str) -> None:
    status, _, text = server.rest(verb, PREDICT, "{}")

    assert (status, json.loads(text)) == (
        400,
        {"error": f"Malformed request: {verb} /v1/models/line:predict"},
    )


@pytest.mark.parametrize("path", ["/v1/models/line", "/v1/models/line/labels/no"])
def test_the_status_page_lists_all_versions(server: RunningServer, path: str) -> None:
    status, _, text = server.rest("GET", path)

    fine = {"error_code": "OK", "error_message": ""}
    assert status == 200
    assert json.loads(text) == {
        "model_version_status": [
            {"version": "2", "state": "AVAILABLE", "status": fine},
            {"version": "1", "state": "AVAILABLE", "status": fine},
        ]
    }


def test_the_metadata_page_describes_the_labelled_version(server: RunningServer) -> None:
    status, _, text = server.rest("GET", "/v1/models/line/labels/stable/metadata")

    found = json.loads(text)
    assert status == 200
    assert found["model_spec"] == {"name": "line", "signature_name": "", "version": "1"}
    described = found["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert described["inputs"]["x"] == {
        "name": "serving_default_x:0",
        "dtype": "DT_FLOAT",
        "tensor_shape": {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False},
    }
