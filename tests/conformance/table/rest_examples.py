"""REST classify and regress."""

from __future__ import annotations

from typing import Any

from tests.conformance.case import Case, Http, Page, Subject, error, post, read, recorded
from tests.conformance.table.examples import AFFINE_SIGNATURE

EXAMPLES = "/v1/models/examples"
ONE = '{"examples": [{"x": 0.25}]}'


def classify(body: str) -> Http:
    return post(f"{EXAMPLES}:classify", body)


def regress(body: str) -> Http:
    """Through signature regress."""
    return post(f"{EXAMPLES}:regress", '{"signature_name": "regress", ' + body[1:])


def results(*rows: Any) -> Page:
    return Page(200, {"results": list(rows)})


def refused(text: str) -> Page:
    return error(400, text)


QUARTER = [["low", 0.75], ["high", 0.25]]


def _feature(name: str, value: str, text: str) -> Case:
    return recorded(name, classify(f'{{"examples": [{{"x": {value}}}]}}'), refused(text))


SUBJECT = Subject(
    "REST classify and regress",
    (
        recorded("classes and scores", classify(ONE), results(QUARTER)),
        recorded(
            "two examples",
            classify('{"examples": [{"x": [0.25]}, {"x": 0.5}]}'),
            results(QUARTER, [["low", 0.5], ["high", 0.5]]),
        ),
        recorded(
            "a context",
            classify('{"context": {"x": 0.25}, "examples": [{}, {}]}'),
            results(QUARTER, QUARTER),
        ),
        recorded(
            "scores without classes",
            classify('{"signature_name": "scores", "examples": [{"x": 0.25}]}'),
            results([["", 0.75], ["", 0.25]]),
        ),
        recorded(
            "classes without scores",
            classify('{"signature_name": "classes", "examples": [{"x": 0.25}]}'),
            results([["low", 0.0], ["high", 0.0]]),
        ),
        recorded(
            "other features are passed over",
            classify(
                '{"examples": [{"x": 0.25, "y": "a", "z": [1, 2], "b": {"b64": "YQ=="}, "n": []}]}'
            ),
            results(QUARTER),
        ),
        recorded(
            "classes by version", post(f"{EXAMPLES}/versions/1:classify", ONE), results(QUARTER)
        ),
        recorded("values", regress('{"examples": [{"x": 0.25}, {"x": 0.5}]}'), results(0.5, 1.0)),
        recorded(
            "values with a context",
            regress('{"context": {"x": 0.25}, "examples": [{}]}'),
            results(0.5),
        ),
        recorded(
            "classify without a signature for it",
            post("/v1/models/affine:classify", '{"examples": [{"x": 1.0}]}'),
            refused(f"No classification inputs found in SignatureDef: {AFFINE_SIGNATURE}"),
        ),
        recorded(
            "regress without a signature for it",
            post("/v1/models/affine:regress", '{"examples": [{"x": 1.0}]}'),
            refused(f"No regression inputs found in SignatureDef: {AFFINE_SIGNATURE}"),
        ),
        recorded(
            "no examples key",
            post("/v1/models/affine:classify", "{}"),
            refused(
                "JSON Value: {} When method is classify, key 'examples' is expected and was not "
                "found"
            ),
        ),
        recorded(
            "empty examples",
            post("/v1/models/affine:classify", '{"examples": []}'),
            refused("JSON Value: {\n    \"examples\": []\n} 'examples' value is an empty array"),
        ),
        recorded(
            "regress without examples",
            post("/v1/models/affine:regress", "{}"),
            refused(
                "JSON Value: {} When method is classify, key 'examples' is expected and was not "
                "found"
            ),
        ),
        recorded("no body", classify(""), refused("JSON Parse error: The document is empty")),
        recorded(
            "half an object",
            classify("{"),
            refused("JSON Parse error: Missing a name for object member. at offset: 1"),
        ),
        recorded("an array", classify("[]"), refused("JSON Value: [] Is not object")),
        recorded(
            "examples that are no list",
            classify('{"examples": 1}'),
            refused(
                'JSON Value: {\n    "examples": 1\n} '
                "Expecting 'examples' value to be an list/array"
            ),
        ),
        recorded(
            "an example that is no object",
            classify('{"examples": [1]}'),
            refused("Example must be JSON object but got JSON Number"),
        ),
        recorded(
            "an example that is a list",
            classify('{"examples": [[]]}'),
            refused("Example must be JSON object but got JSON Array"),
        ),
        recorded(
            "a context that is no object",
            classify('{"context": "x", "examples": [{"x": 0.25}]}'),
            refused("Example must be JSON object but got JSON String"),
        ),
        recorded(
            "a signature that is no name",
            classify('{"signature_name": null, "examples": [{"x": 0.25}]}'),
            refused(
                "JSON Value: …not formatted correctly. 'signature_name' key must be a string value."
            ),
        ),
        recorded(
            "unknown signature",
            classify('{"signature_name": "nope", "examples": [{"x": 0.25}]}'),
            refused("No signature was found with the name: nope"),
        ),
        recorded(
            "unknown model",
            post("/v1/models/nope:classify", ONE),
            error(404, "Servable not found for request: Latest(nope)"),
        ),
        recorded(
            "unknown label",
            post(f"{EXAMPLES}/labels/nope:regress", ONE),
            refused("Unrecognized servable version label: nope"),
        ),
        _feature("null", "null", "Feature: x has element with unexpected JSON type: Null"),
        _feature(
            "a list in a list",
            "[[0.25]]",
            "Feature: x has element with unexpected JSON type: Array",
        ),
        _feature(
            "an object", '{"z": 1}', "Feature: x has element with unexpected JSON type: Object"
        ),
        _feature("broken base64", '{"b64": "***"}', "Unable to base64 decode"),
        _feature(
            "a whole number after a fraction",
            "[0.25, 1]",
            "Unexpected element type in feature: x expecting type: float",
        ),
        _feature(
            "a fraction after a whole number",
            "[1, 0.25]",
            "Unexpected element type in feature: x expecting type: int64",
        ),
        _feature(
            "a number after a word",
            '["a", 1]',
            "Unexpected element type in feature: x expecting type: bytes",
        ),
        _feature(
            "a number that int64 cannot hold",
            "18446744073709551615",
            "Feature: x has uint64_t element. Only int64_t is supported.",
        ),
        recorded(
            "a number that float32 cannot hold",
            classify('{"examples": [{"x": 1e39}]}'),
            results([["low", float("-inf")], ["high", float("inf")]]),
        ),
        _feature(
            "a whole number where the graph wants a float",
            "1",
            "…Key: x, …Data type: int64 but expected type: float…",
        ),
        recorded(
            "a feature that is not there",
            classify('{"examples": [{}]}'),
            refused("…Feature: x (data type: float) is required but could not be found.…"),
        ),
        read(
            "regress through a signature for Predict, when method names are checked",
            post(f"{EXAMPLES}:regress", '{"signature_name": "predict", "examples": [{"x": 0.25}]}'),
            refused(
                "Expected regression signature method_name to be tensorflow/serving/regress. Was: "
                "tensorflow/serving/predict"
            ),
            "flags",
        ),
    ),
)
