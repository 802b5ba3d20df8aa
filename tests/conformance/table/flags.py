"""What flags change, as far as a request can see it."""

from __future__ import annotations

from tests.conformance.case import (
    Answer,
    Case,
    Each,
    Http,
    Page,
    Rpc,
    Source,
    Step,
    Subject,
    Together,
    error,
    get,
    invalid,
    post,
    predict,
    predicted,
    read,
    refused,
    tensor,
)
from tests.conformance.setups import METRICS_PATH
from tests.conformance.table.predict_refused import image
from tests.conformance.table.requests import (
    MANY,
    A,
    B,
    dims,
    given,
    spec,
    x,
)
from tests.conformance.table.rest_pages import NO_PAGE

PREDICT = "/v1/models/affine:predict"
ROW = '{"instances": [1.0]}'
CORS = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Methods", "POST, GET"),
    ("Access-Control-Allow-Headers", "Content-Type"),
)
NO_CORS = tuple((name, "") for name, _ in CORS)
ORIGIN = (("Origin", "http://localhost:3000"),)
HEALTH = "/grpc.health.v1.Health/Check"
SHAPES = refused(
    "FAILED_PRECONDITION",
    "Tensors with name '…' from different tasks have different shapes and padding is turned off."
    "Set pad_variable_length_inputs to true, or ensure that all tensors with the same name"
    "have equal dimensions starting with the first dim.",
)

BATCHING = Subject(
    "Batching",
    (
        read(
            "fewer rows than a batch are padded and cut again",
            predict(x(shape=dims(3), values="float_val: 1 float_val: 2 float_val: 3")),
            predicted("affine", 2, y=tensor("FLOAT", [3], tensor_content="AABgQAAAgEAAAJBA")),
            "flags",
        ),
        read(
            "rows over REST",
            post(PREDICT, '{"instances": [1.0, 2.0, 3.0]}'),
            Page(200, {"predictions": [3.5, 4.0, 4.5]}),
            "flags",
        ),
        read(
            "more rows than a batch may have",
            predict(x(shape=dims(9), values="float_val: 2")),
            invalid("Task size 9 is larger than maximum input batch size 8"),
            "flags",
        ),
        read(
            "more rows than a batch may have, over REST",
            post(PREDICT, '{"instances": [1, 2, 3, 4, 5, 6, 7, 8, 9]}'),
            error(400, "Task size 9 is larger than maximum input batch size 8"),
            "flags",
        ),
        read(
            "a scalar",
            predict(spec("scalar") + given("x", "dtype: DT_FLOAT float_val: 2")),
            invalid("Batching Run() input tensors must have at least one dimension…"),
            "flags",
        ),
        read(
            "inputs of different numbers of rows",
            predict(
                MANY
                + given("a", f"dtype: DT_FLOAT {dims(1, 3)} float_val: 1")
                + given("b", f"dtype: DT_INT64 {dims(2)} int64_val: 4")
            ),
            invalid("Batching Run() input tensors must have equal 0th-dimension size…"),
            "flags",
        ),
        read(
            "a wrong dtype",
            predict(x("INT32", values="int_val: 2")),
            invalid("Expects arg[0] to be float but int32 is provided"),
            "flags",
        ),
        read(
            "an output filter",
            predict(MANY + 'output_filter: "total" ' + A + B),
            predicted("many", 1, total=tensor("FLOAT", [1], tensor_content="AAAgQQ==")),
            "flags",
        ),
        Case(
            "images of different sizes in one batch fail together",
            Source.READ,
            (
                Step(
                    Together(
                        (
                            predict(image(1, 4, 4, 1, signature="guarded")),
                            predict(image(1, 5, 5, 1, signature="guarded")),
                        )
                    ),
                    Each((SHAPES, SHAPES)),
                    eventually=True,
                ),
            ),
            "flags",
        ),
    ),
)

FLAGS = Subject(
    "Flags",
    (
        read(
            "a browser may ask from elsewhere",
            Http("POST", PREDICT, ROW, ORIGIN),
            Page(200, {"predictions": [3.5]}, headers=CORS),
            "flags",
        ),
        read(
            "an error tells a browser so as well",
            Http("POST", PREDICT, "{}", ORIGIN),
            Page(400, {"error": "Missing 'inputs' or 'instances' key"}, headers=CORS),
            "flags",
        ),
        read(
            "a browser asks before it asks",
            Http("OPTIONS", PREDICT, None, ORIGIN),
            Page(200, headers=CORS),
            "flags",
        ),
        read(
            "without the flag nothing allows it to",
            Http("OPTIONS", PREDICT, None, ORIGIN),
            Page(200, headers=NO_CORS),
        ),
        read(
            "without the flag an answer does not either",
            Http("POST", PREDICT, ROW, ORIGIN),
            Page(200, {"predictions": [3.5]}, headers=NO_CORS),
        ),
        read(
            "a browser that does not say where it is from",
            Http("OPTIONS", PREDICT),
            Page(400),
        ),
        read(
            "metrics",
            get(METRICS_PATH),
            Page(200, "…:tensorflow:serving:request_count…", "text/plain"),
            "flags",
        ),
        read("no metrics without their flag", get(METRICS_PATH), NO_PAGE),
        # HealthCheckResponse with status SERVING.
        read("health", Rpc(HEALTH, b""), Answer("0801"), "flags"),
        read("no health without its flag", Rpc(HEALTH, b""), refused("UNIMPLEMENTED")),
        read(
            "a signature that is no call, when method names are checked",
            predict(spec("affine", signature="__saved_model_init_op")),
            refused(
                "INTERNAL",
                "Expected prediction signature method_name to be one of {tensorflow/serving/"
                "predict, tensorflow/serving/classify, tensorflow/serving/regress}. Was: ",
            ),
            "flags",
        ),
        read(
            "answers in content",
            predict(x()),
            predicted("affine", 2, y=tensor("FLOAT", [2], tensor_content="AACAQAAAoEA=")),
            "flags",
        ),
        read(
            "REST writes them as ever",
            post(PREDICT, ROW),
            Page(200, {"predictions": [3.5]}),
            "flags",
        ),
    ),
)
