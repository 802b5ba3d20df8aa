"""Predict: which version answers, how tensors may be sent, what is computed."""

from __future__ import annotations

from tests.conformance.case import Subject, floats, predict, predicted, recorded, tensor
from tests.conformance.table.requests import (
    A_NARROW,
    AFFINE,
    MANY,
    A,
    B,
    X,
    dims,
    given,
    label,
    serialized,
    spec,
    version,
    x,
)

CONTENT = r'tensor_content: "\000\000\000\100\000\000\200\100"'
LATEST = predicted("affine", 2, y=floats(4.0, 5.0))
FIRST = predicted("affine", 1, y=floats(3.0, 4.0))
EVEN = tensor("BOOL", [1], bool_val=[True])
NAME = tensor("STRING", [1], string_val=["NA=="])
B_TWICE = given("b", f"dtype: DT_INT64 {dims(2)} int64_val: 4")

SUBJECT = Subject(
    "Predict answers",
    (
        recorded("latest version", predict(AFFINE + X), LATEST),
        recorded("by version", predict(spec("affine", version(1)) + X), FIRST),
        recorded("by label", predict(spec("affine", label("stable")) + X), FIRST),
        recorded("by label canary", predict(spec("affine", label("canary")) + X), LATEST),
        recorded(
            "named signature", predict(spec("affine", signature="serving_default") + X), LATEST
        ),
        recorded(
            "label and signature",
            predict(spec("affine", label("stable"), "serving_default") + X),
            FIRST,
        ),
        recorded(
            "a model without serving_default",
            predict(spec("named", signature="double") + given("x", "dtype: DT_FLOAT float_val: 2")),
            predicted("named", 1, "double", y=floats(4.0, shape=[])),
        ),
        recorded(
            "a model of TensorFlow 1",
            predict(spec("old") + X),
            predicted("old", 1, y=floats(20.0, 40.0)),
        ),
        recorded(
            "values of another dtype",
            predict(x(values="int_val: 2 int_val: 4")),
            predicted("affine", 2, y=floats(3.0, 3.0)),
        ),
        recorded(
            "scalar for a vector",
            predict(x(shape="tensor_shape { }", values="float_val: 2")),
            predicted("affine", 2, y=floats(4.0, shape=[])),
        ),
        recorded(
            "matrix for a vector",
            predict(x(shape=dims(1, 2))),
            predicted("affine", 2, y=floats(4.0, 5.0, shape=[1, 2])),
        ),
        recorded(
            "a column for a vector",
            predict(x(shape=dims(2, 1))),
            predicted("affine", 2, y=floats(4.0, 5.0, shape=[2, 1])),
        ),
        recorded(
            "empty batch",
            predict(x(shape=dims(0), values="")),
            predicted("affine", 2, y=floats(shape=[0])),
        ),
        recorded(
            "a shape with a zero in it",
            predict(x(shape=dims(2, 0, 3), values="")),
            predicted("affine", 2, y=floats(shape=[2, 0, 3])),
        ),
        recorded(
            "one value for two",
            predict(x(values="float_val: 7")),
            predicted("affine", 2, y=floats(6.5, 6.5)),
        ),
        recorded(
            "three values for two",
            predict(x(values="float_val: 1 float_val: 2 float_val: 3")),
            predicted("affine", 2, y=floats(3.5, 4.0)),
        ),
        recorded("no values", predict(x(values="")), predicted("affine", 2, y=floats(3.0, 3.0))),
        recorded(
            "no shape is a scalar",
            predict(x(shape="", values="float_val: 2")),
            predicted("affine", 2, y=floats(4.0, shape=[])),
        ),
        recorded(
            "unknown rank",
            predict(x(shape="tensor_shape { unknown_rank: true }")),
            predicted("affine", 2, y=floats(4.0, shape=[])),
        ),
        recorded("content", predict(x(values=CONTENT)), LATEST),
        recorded(
            "content and values", predict(x(values=CONTENT + " float_val: 1 float_val: 1")), LATEST
        ),
        recorded(
            "not a number",
            predict(x(values="float_val: nan float_val: inf")),
            predicted("affine", 2, y=floats("NaN", "Infinity")),
        ),
        recorded(
            "output filter",
            predict(MANY + 'output_filter: "parity" ' + A + B),
            predicted("many", 1, parity=EVEN),
        ),
        recorded(
            "two outputs of three",
            predict(MANY + 'output_filter: "total" output_filter: "name" ' + A + B),
            predicted("many", 1, total=floats(10.0), name=NAME),
        ),
        recorded(
            "all outputs",
            predict(MANY + A + B),
            predicted("many", 1, parity=EVEN, name=NAME, total=floats(10.0)),
        ),
        recorded(
            "wrong inner size",
            predict(MANY + A_NARROW + B),
            predicted("many", 1, parity=EVEN, name=NAME, total=floats(7.0)),
        ),
        recorded(
            "guarded right",
            predict(spec("many", signature="guarded") + A),
            predicted("many", 1, "guarded", total=floats(6.0)),
        ),
        recorded(
            "batches that differ",
            predict(MANY + A + B_TWICE),
            predicted(
                "many",
                1,
                parity=tensor("BOOL", [2], bool_val=[True, True]),
                name=tensor("STRING", [2], string_val=["NA==", "NA=="]),
                total=floats(10.0, 10.0),
            ),
        ),
        recorded(
            "strings",
            predict(
                spec("many", signature="lengths")
                + given("text", f'dtype: DT_STRING {dims(2)} string_val: "ab" string_val: ""')
            ),
            predicted("many", 1, "lengths", length=tensor("INT32", [2], int_val=[2, 0])),
        ),
        recorded(
            "strings keep zero bytes at their end",
            predict(
                spec("many", signature="lengths")
                + given("text", rf'dtype: DT_STRING {dims(1)} string_val: "a\000"')
            ),
            predicted("many", 1, "lengths", length=tensor("INT32", [1], int_val=[2])),
        ),
        recorded(
            "scalar",
            predict(spec("scalar") + given("x", "dtype: DT_FLOAT tensor_shape { } float_val: 2")),
            predicted("scalar", 1, y=floats(4.0, shape=[])),
        ),
        recorded(
            "vector for a scalar",
            predict(spec("scalar") + X),
            predicted("scalar", 1, y=floats(4.0, 8.0)),
        ),
        recorded(
            "a signature for Classify answers Predict as well",
            predict(spec("examples") + given("inputs", f"dtype: DT_STRING {serialized(0.25)}")),
            predicted(
                "examples",
                1,
                classes=tensor("STRING", [1, 2], string_val=["bG93", "aGlnaA=="]),
                scores=floats(0.75, 0.25, shape=[1, 2]),
            ),
        ),
    ),
)
