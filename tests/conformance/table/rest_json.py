"""REST predict: bodies that are no JSON, or not of the form of a request."""

from __future__ import annotations

from tests.conformance.case import Page, Subject, post, recorded
from tests.conformance.table.rest_predict import affine
from tests.conformance.table.rest_refused import refused

PARSE = "JSON Parse error: "

SUBJECT = Subject(
    "REST malformed JSON",
    (
        recorded("no body", affine(""), refused(PARSE + "The document is empty")),
        recorded(
            "half an object",
            affine("{"),
            refused(PARSE + "Missing a name for object member. at offset: 1"),
        ),
        recorded("an array", affine("[]"), refused("JSON Value: [] Is not object")),
        recorded("an empty object", affine("{}"), refused("Missing 'inputs' or 'instances' key")),
        recorded(
            "no rows",
            affine('{"instances": []}'),
            refused("JSON Value: {\n    \"instances\": []\n} No values in 'instances' array"),
        ),
        recorded(
            "rows that are no list",
            affine('{"instances": 1.0}'),
            refused(
                "JSON Value: {\n    \"instances\": 1.0\n} Expecting 'instances' to be an list/array"
            ),
        ),
        recorded(
            "both formats",
            affine('{"instances": [1.0], "inputs": [1.0]}'),
            refused(
                'JSON Value: {\n    "instances": [1.0],\n    "inputs": [1.0]\n} Not formatted '
                "correctly expecting only one of 'inputs' or 'instances' keys to exist "
            ),
        ),
        recorded(
            "a number too big",
            affine('{"instances": [1e400]}'),
            refused(PARSE + "Number too big to be stored in double. at offset: 15"),
        ),
        recorded(
            "white space alone",
            affine("  "),
            refused(PARSE + "The document is empty. at offset: 2"),
        ),
        recorded("a number", affine("1"), refused("JSON Value: 1 Is not object")),
        recorded("a word", affine('"instances"'), refused('JSON Value: "instances" Is not object')),
        recorded("null", affine("null"), refused("JSON Value: null Is not object")),
        recorded("nonsense", affine("nonsense"), refused(PARSE + "Invalid value. at offset: 1")),
        recorded(
            "nonsense for a value",
            affine('{"a": nope}'),
            refused(PARSE + "Invalid value. at offset: 7"),
        ),
        recorded(
            "half a word", affine('{"a": tru'), refused(PARSE + "Invalid value. at offset: 9")
        ),
        recorded(
            "single quotation marks",
            affine("{'instances': [1.0]}"),
            refused(PARSE + "Missing a name for object member. at offset: 1"),
        ),
        recorded(
            "no colon",
            affine('{"instances" [1.0]}'),
            refused(PARSE + "Missing a colon after a name of object member. at offset: 13"),
        ),
        recorded(
            "no end of an object",
            affine('{"instances": [1.0]'),
            refused(PARSE + "Missing a comma or '}' after an object member. at offset: 19"),
        ),
        recorded(
            "no end of a list",
            affine('{"instances": [1.0'),
            refused(PARSE + "Missing a comma or ']' after an array element. at offset: 18"),
        ),
        recorded(
            "no end of a word",
            affine('{"instances": ["a'),
            refused(PARSE + "Missing a closing quotation mark in string. at offset: 17"),
        ),
        recorded(
            "no comma",
            affine('{"instances": [1.0 2.0]}'),
            refused(PARSE + "Missing a comma or ']' after an array element. at offset: 19"),
        ),
        recorded(
            "a comma too many in a list",
            affine('{"instances": [1.0,]}'),
            refused(PARSE + "Invalid value. at offset: 19"),
        ),
        recorded(
            "a comma too many in an object",
            affine('{"instances": [1.0],}'),
            refused(PARSE + "Missing a name for object member. at offset: 20"),
        ),
        recorded(
            "something after the end",
            affine('{"instances": [1.0]} {}'),
            Page(200, {"predictions": [3.5]}),
        ),
        recorded(
            "a comment",
            affine('{"instances": [1.0] /* rows */}'),
            refused(PARSE + "Missing a comma or '}' after an object member. at offset: 20"),
        ),
        recorded(
            "a plus sign",
            affine('{"instances": [+1]}'),
            refused(PARSE + "Invalid value. at offset: 15"),
        ),
        recorded(
            "a minus sign alone",
            affine('{"instances": [-]}'),
            refused(PARSE + "Invalid value. at offset: 16"),
        ),
        recorded(
            "a leading zero",
            affine('{"instances": [01]}'),
            refused(PARSE + "Missing a comma or ']' after an array element. at offset: 16"),
        ),
        recorded(
            "a leading point",
            affine('{"instances": [.5]}'),
            refused(PARSE + "Invalid value. at offset: 15"),
        ),
        recorded(
            "no digits after a point",
            affine('{"instances": [1.]}'),
            refused(PARSE + "Miss fraction part in number. at offset: 17"),
        ),
        recorded(
            "no digits in an exponent",
            affine('{"instances": [1e]}'),
            refused(PARSE + "Miss exponent in number. at offset: 17"),
        ),
        recorded(
            "half of infinity",
            affine('{"instances": [In]}'),
            refused(PARSE + "Invalid value. at offset: 17"),
        ),
        recorded(
            "an unknown escape",
            affine(r'{"instances": ["\x"]}'),
            refused(PARSE + "Invalid escape character in string. at offset: 16"),
        ),
        recorded(
            "a bad digit in an escape",
            affine(r'{"instances": ["\u12G4"]}'),
            refused(PARSE + "Incorrect hex digit after \\u escape in string. at offset: 16"),
        ),
        recorded(
            "half of a surrogate pair",
            affine(r'{"instances": ["\ud800"]}'),
            refused(PARSE + "The surrogate pair in string is invalid. at offset: 16"),
        ),
        recorded(
            "a line break in a word",
            affine('{"instances": ["a\nb"]}'),
            refused(PARSE + "Invalid escape character in string. at offset: 17"),
        ),
        recorded(
            "bytes that are no text",
            post("/v1/models/affine:predict", b"\xff\xfe\x00\x01"),
            refused(PARSE + "Invalid value. at offset: 0"),
        ),
        recorded(
            "offsets count bytes",
            affine('{"ü": nope}'),
            refused(PARSE + "Invalid value. at offset: 8"),
        ),
        recorded(
            "lists too deep for a tensor",
            affine('{"instances": ' + "[" * 300 + "1" + "]" * 300 + "}"),
            refused("tensor parsing error: x"),
        ),
        recorded(
            "lists too deep to read",
            affine('{"instances": ' + "[" * 100_000),
            refused(PARSE + "Invalid value. at offset: 100014"),
        ),
        recorded(
            "lists too deep to quote",
            affine('{"instances": 1, "a": ' + "[" * 800 + "]" * 800 + "}"),
            refused(
                'JSON Value: {\n    "instances": 1,\n    "a": '
                + "[" * 225
                + " Expecting 'instances' to be an list/array"
            ),
        ),
    ),
)
