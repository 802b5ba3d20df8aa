"""REST predict: rows and columns, names, base64, numbers."""

from __future__ import annotations

import gzip
from typing import Any

from tests.conformance.case import Http, Page, Subject, post, recorded

AFFINE = "/v1/models/affine:predict"
MANY = "/v1/models/many:predict"
ECHO = "/v1/models/echo:predict"


def rows(*predictions: Any) -> Page:
    return Page(200, {"predictions": list(predictions)})


def columns(outputs: Any) -> Page:
    return Page(200, {"outputs": outputs})


def affine(body: str) -> Http:
    return post(AFFINE, body)


def many(body: str) -> Http:
    return post(MANY, body)


def lengths(instances: str) -> Http:
    return many(f'{{"signature_name": "lengths", "instances": {instances}}}')


def echo(signature: str, instances: str) -> Http:
    return post(ECHO, f'{{"signature_name": "{signature}", "instances": {instances}}}')


NAN = float("nan")

SUBJECT = Subject(
    "REST predict answers",
    (
        recorded("rows", affine('{"instances": [1.0, 2.0]}'), rows(3.5, 4.0)),
        recorded("rows of whole numbers", affine('{"instances": [1, 2]}'), rows(3.5, 4.0)),
        recorded("named rows", affine('{"instances": [{"x": 1.0}, {"x": 2.0}]}'), rows(3.5, 4.0)),
        recorded("columns", affine('{"inputs": [1.0, 2.0]}'), columns([3.5, 4.0])),
        recorded("named columns", affine('{"inputs": {"x": [1.0, 2.0]}}'), columns([3.5, 4.0])),
        recorded(
            "by version",
            post("/v1/models/affine/versions/2:predict", '{"instances": [1.0]}'),
            rows(3.5),
        ),
        recorded(
            "by the first version",
            post("/v1/models/affine/versions/1:predict", '{"instances": [1.0]}'),
            rows(2.5),
        ),
        recorded(
            "by label",
            post("/v1/models/affine/labels/canary:predict", '{"instances": [1.0]}'),
            rows(3.5),
        ),
        recorded(
            "by an escaped label",
            post("/v1/models/affine/labels/%73table:predict", '{"instances": [1.0]}'),
            rows(2.5),
        ),
        recorded(
            "letters of the path do not matter, but for the call's",
            post("/V1/MODELS/affine/LABELS/stable:predict", '{"instances": [1.0]}'),
            rows(2.5),
        ),
        recorded(
            "an empty signature name",
            affine('{"signature_name": "", "instances": [1.0]}'),
            rows(3.5),
        ),
        recorded(
            "a signature name",
            affine('{"signature_name": "serving_default", "instances": [1.0]}'),
            rows(3.5),
        ),
        recorded("not a number", affine('{"instances": [NaN]}'), rows(NAN)),
        recorded(
            "infinities",
            affine('{"instances": [Infinity, -Infinity, Inf, -Inf]}'),
            rows(float("inf"), float("-inf"), float("inf"), float("-inf")),
        ),
        recorded(
            "rows that are lists", affine('{"instances": [[1.0], [2.0]]}'), rows([3.5], [4.0])
        ),
        recorded("a row that is an empty list", affine('{"instances": [[]]}'), rows([])),
        recorded("a scalar column", affine('{"inputs": 1.0}'), columns(3.5)),
        recorded("an empty column", affine('{"inputs": []}'), columns([])),
        recorded("a column of rows", affine('{"inputs": [[1.0], [2.0]]}'), columns([[3.5], [4.0]])),
        recorded("other keys are passed over", affine('{"instances": [1.0], "id": 5}'), rows(3.5)),
        recorded(
            "more columns than inputs are passed over",
            affine('{"inputs": {"x": [1.0], "z": [2.0]}}'),
            columns([3.5]),
        ),
        recorded(
            "the first of two keys counts",
            affine('{"instances": [1.0], "instances": [2.0]}'),
            rows(3.5),
        ),
        recorded("white space", affine(' \t\r\n{ "instances" :\n[ 1.0 ] } \n'), rows(3.5)),
        recorded("an escaped key", affine(r'{"\u0069nstances": [1.0]}'), rows(3.5)),
        recorded(
            "numbers with exponents",
            affine('{"instances": [1e0, 2E+0, 20e-1]}'),
            rows(3.5, 4.0, 4.0),
        ),
        recorded(
            "a whole number of 20 digits",
            affine('{"inputs": 10000000000000000000000}'),
            columns(5e21),
        ),
        recorded("a small number", affine('{"instances": [1e-400]}'), rows(3.0)),
        recorded(
            "another content type",
            post(AFFINE, '{"instances": [1.0]}', ("Content-Type", "text/plain")),
            rows(3.5),
        ),
        recorded(
            "a compressed body",
            post(
                AFFINE,
                gzip.compress(b'{"instances": [1.0]}', mtime=0),
                ("Content-Encoding", "gzip"),
            ),
            rows(3.5),
        ),
        recorded(
            "several outputs in rows",
            many('{"instances": [{"a": [1, 2, 3], "b": 4}]}'),
            rows({"total": 10.0, "name": "4", "parity": True}),
        ),
        recorded(
            "several outputs in columns",
            many('{"inputs": {"a": [[1, 2, 3]], "b": [4]}}'),
            columns({"name": ["4"], "parity": [True], "total": [10.0]}),
        ),
        recorded(
            "keys in another order",
            many('{"instances": [{"b": 4, "a": [1, 2, 3]}, {"a": [0, 0, 0], "b": -1}]}'),
            rows(
                {"total": 10.0, "name": "4", "parity": True},
                {"total": -1.0, "name": "-1", "parity": False},
            ),
        ),
        recorded("bytes", lengths('[{"text": {"b64": "YWI="}}, {"text": "abc"}]'), rows(2, 3)),
        recorded("bytes of the only input", lengths('[{"b64": "YWI="}]'), rows(2)),
        recorded("base64 without its padding", lengths('[{"b64": "YWI"}]'), rows(2)),
        recorded("empty base64", lengths('[{"b64": ""}]'), rows(0)),
        recorded(
            "words of several bytes", lengths('["ü", "\\u00fc", "\\ud83d\\ude00"]'), rows(2, 2, 4)
        ),
        recorded(
            "base64 in columns",
            many('{"signature_name": "lengths", "inputs": {"b64": "YWI="}}'),
            columns(2),
        ),
        recorded("scalar", post("/v1/models/scalar:predict", '{"inputs": 2.0}'), columns(4.0)),
        recorded(
            "a row for a scalar",
            post("/v1/models/scalar:predict", '{"instances": [2.0]}'),
            rows(4.0),
        ),
        recorded(
            "float32 is written so that it comes back",
            echo("float32", "[0.2, 0.1234567, 9000000]"),
            Page(200, '{ "predictions": [0.2, 0.123456702, 9e+06 ] }'),
        ),
        recorded(
            "float64 is read in RapidJSON's fast mode, and written so that it comes back",
            echo("float64", "[0.1, 1e300, 0.12345678901234567]"),
            rows(0.1, 1e300, 0.12345678901234568),
        ),
        recorded("int8", echo("int8", "[-128, 127]"), rows(-128, 127)),
        recorded("int32", echo("int32", "[-2147483648, 2147483647]"), rows(-(2**31), 2**31 - 1)),
        recorded("int64", echo("int64", "[-9223372036854775808]"), rows(-(2**63))),
        recorded("uint32", echo("uint32", "[4294967295]"), rows(2**32 - 1)),
        recorded("uint64", echo("uint64", "[18446744073709551615]"), rows(2**64 - 1)),
        recorded("bool", echo("bool", "[true, false]"), rows(True, False)),
        recorded("words", echo("string", '["a\\n\\"b\\"", ""]'), rows('a\n"b"', "")),
        recorded("small integers are cut", echo("uint8", "[300]"), rows(44)),
        recorded(
            "an output that ends with _bytes is base64",
            echo("base64", '["ab"]'),
            rows({"b64": "YWI="}),
        ),
        recorded("a matrix", echo("float32", "[[[1, 2], [3, 4]]]"), rows([[1.0, 2.0], [3.0, 4.0]])),
    ),
)

LAYOUT = Subject(
    "REST layout",
    (
        # Compared with white space folded, so this is order, brackets and the form of numbers.
        recorded(
            "whole floats keep their point",
            affine('{"instances": [2]}'),
            Page(200, '{ "predictions": [4.0 ] }'),
        ),
        recorded(
            "a column of numbers",
            affine('{"inputs": [1, 2]}'),
            Page(200, '{ "outputs": [ 3.5, 4.0 ] }'),
        ),
        recorded(
            "what is no number is written as such",
            affine('{"instances": [NaN, Infinity, -Infinity]}'),
            Page(200, '{ "predictions": [NaN, Infinity, -Infinity ] }'),
        ),
        recorded(
            "an error",
            affine("{}"),
            Page(400, "{ \"error\": \"Missing 'inputs' or 'instances' key\" }"),
        ),
    ),
)
