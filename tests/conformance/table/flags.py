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
    own,
    post,
    predict,
    predicted,
    recorded,
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
    "Tensors with name '…' from different tasks have different shapes and padding is turned off. "
    "Set pad_variable_length_inputs to true, or ensure that all tensors with the same name "
    "have equal dimensions starting with the first dim.",
)

DTYPES = refused(
    "INTERNAL",
    "Tensor concat operation failed: INVALID_ARGUMENT: Cannot concatenate tensors that have "
    "different data types. Got … and ….",
)
"""Which one is named first depends on which one came first."""

REST_ENDS = (
    "TensorFlow Serving ends (SIGSEGV) where :predict is asked over REST and "
    "--enable_serialization_as_tensor_content is on"
)

BATCHING = Subject(
    "Batching",
    (
        recorded(
            "fewer rows than a batch are padded and cut again",
            predict(x(shape=dims(3), values="float_val: 1 float_val: 2 float_val: 3")),
            predicted("affine", 2, y=tensor("FLOAT", [3], tensor_content="AABgQAAAgEAAAJBA")),
            "flags",
        ),
        own(
            "rows over REST",
            post(PREDICT, '{"instances": [1.0, 2.0, 3.0]}'),
            Page(200, {"predictions": [3.5, 4.0, 4.5]}),
            REST_ENDS,
            "flags",
            ends=True,
        ),
        recorded(
            "more rows than a batch may have",
            predict(x(shape=dims(9), values="float_val: 2")),
            invalid("Task size 9 is larger than maximum input batch size 8"),
            "flags",
        ),
        recorded(
            "more rows than a batch may have, over REST",
            post(PREDICT, '{"instances": [1, 2, 3, 4, 5, 6, 7, 8, 9]}'),
            error(400, "Task size 9 is larger than maximum input batch size 8"),
            "flags",
        ),
        recorded(
            "a scalar",
            predict(spec("scalar") + given("x", "dtype: DT_FLOAT float_val: 2")),
            invalid("Batching Run() input tensors must have at least one dimension…"),
            "flags",
        ),
        recorded(
            "inputs of different numbers of rows",
            predict(
                MANY
                + given("a", f"dtype: DT_FLOAT {dims(1, 3)} float_val: 1")
                + given("b", f"dtype: DT_INT64 {dims(2)} int64_val: 4")
            ),
            invalid("Batching Run() input tensors must have equal 0th-dimension size…"),
            "flags",
        ),
        recorded(
            "a wrong dtype",
            predict(x("INT32", values="int_val: 2")),
            invalid("Expects arg[0] to be float but int32 is provided"),
            "flags",
        ),
        recorded(
            "an output filter",
            predict(MANY + 'output_filter: "total" ' + A + B),
            predicted("many", 1, total=tensor("FLOAT", [1], tensor_content="AAAgQQ==")),
            "flags",
        ),
        recorded(
            "no rows alone are not answered",
            Rpc("Predict", x(shape=dims(0), values="").strip(), timeout_s=1.5),
            refused("DEADLINE_EXCEEDED"),
            "flags",
        ),
        Case(
            "no rows are answered with the next that come",
            Source.OWN,
            (
                Step(
                    Together((predict(x(shape=dims(0), values="")), predict(x()))),
                    Each(
                        (
                            predicted("affine", 2, y=tensor("FLOAT", [0])),
                            predicted(
                                "affine", 2, y=tensor("FLOAT", [2], tensor_content="AACAQAAAoEA=")
                            ),
                        )
                    ),
                    eventually=True,
                ),
            ),
            "flags",
            why=(
                "TensorFlow Serving fills a batch up with the first row of the last request; where "
                "that one has none, it may end (read in its source)"
            ),
            ends=True,
        ),
        Case(
            "another dtype in one batch fails its neighbours too",
            Source.RECORDED,
            (
                Step(
                    Together((predict(x()), predict(x("INT32", values="int_val: 2")))),
                    Each((DTYPES, DTYPES)),
                    eventually=True,
                ),
            ),
            "flags",
        ),
        Case(
            "images of different sizes in one batch fail together",
            Source.RECORDED,
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
        own(
            "a browser may ask from elsewhere",
            Http("POST", PREDICT, ROW, ORIGIN),
            Page(200, {"predictions": [3.5]}, headers=CORS),
            REST_ENDS,
            "flags",
            ends=True,
        ),
        recorded(
            "an error tells a browser so as well",
            Http("POST", PREDICT, "{}", ORIGIN),
            Page(400, {"error": "Missing 'inputs' or 'instances' key"}, headers=CORS),
            "flags",
        ),
        recorded(
            "a browser asks before it asks",
            Http("OPTIONS", PREDICT, None, ORIGIN),
            Page(200, headers=CORS),
            "flags",
        ),
        recorded(
            "without the flag nothing allows it to",
            Http("OPTIONS", PREDICT, None, ORIGIN),
            Page(200, headers=NO_CORS),
        ),
        recorded(
            "without the flag an answer does not either",
            Http("POST", PREDICT, ROW, ORIGIN),
            Page(200, {"predictions": [3.5]}, headers=NO_CORS),
        ),
        recorded(
            "a browser that does not say where it is from",
            Http("OPTIONS", PREDICT),
            Page(400),
        ),
        recorded(
            "metrics",
            get(METRICS_PATH),
            Page(200, "…:tensorflow:serving:request_count…", "text/plain"),
            "flags",
        ),
        recorded("no metrics without their flag", get(METRICS_PATH), NO_PAGE),
        # HealthCheckResponse with status SERVING.
        recorded("health", Rpc(HEALTH, b""), Answer("0801"), "flags"),
        recorded("no health without its flag", Rpc(HEALTH, b""), refused("UNIMPLEMENTED")),
        recorded(
            "a signature that is no call, when method names are checked",
            predict(spec("affine", signature="__saved_model_init_op")),
            refused(
                "INTERNAL",
                "Expected prediction signature method_name to be one of {tensorflow/serving/"
                "predict, tensorflow/serving/classify, tensorflow/serving/regress}. Was: ",
            ),
            "flags",
        ),
        recorded(
            "answers in content",
            predict(x()),
            predicted("affine", 2, y=tensor("FLOAT", [2], tensor_content="AACAQAAAoEA=")),
            "flags",
        ),
        own(
            "REST writes them as ever",
            post(PREDICT, ROW),
            Page(200, {"predictions": [3.5]}),
            REST_ENDS,
            "flags",
            ends=True,
        ),
    ),
)
