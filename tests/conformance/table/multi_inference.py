"""MultiInference: Classify and Regress in one request."""

from __future__ import annotations

from typing import Any

from tests.conformance.case import (
    Answer,
    Rpc,
    Subject,
    invalid,
    read,
    recorded,
    refused,
    spec as answer_spec,
)
from tests.conformance.table.examples import AFFINE_SIGNATURE, QUARTER, row
from tests.conformance.table.requests import spec, version


def multi(request: str) -> Rpc:
    return Rpc("MultiInference", request)


def task(model: str, method: str, signature: str = "", choice: str = "") -> str:
    name = f'method_name: "tensorflow/serving/{method}"'
    return f"tasks {{ {spec(model, choice, signature)} {name} }} "


BOTH = task("examples", "classify") + task("examples", "regress", "regress")
"""A task of each kind."""


def _both(low: float, high: float, value: float) -> list[dict[str, Any]]:
    return [
        {
            "model_spec": answer_spec("examples", 1),
            "classification_result": {"classifications": [row(low, high)]},
        },
        {
            "model_spec": answer_spec("examples", 1, "regress"),
            "regression_result": {"regressions": [{"value": value}]},
        },
    ]


SUBJECT = Subject(
    "MultiInference",
    (
        recorded("two tasks", multi(BOTH + QUARTER), Answer({"results": _both(0.75, 0.25, 0.5)})),
        recorded(
            "one task",
            multi(task("examples", "classify") + QUARTER),
            Answer({"results": _both(0.75, 0.25, 0.5)[:1]}),
        ),
        recorded("multi inference empty", multi(""), invalid("ModelSpec has no name specified.")),
        recorded("tasks without examples", multi(BOTH), invalid("Input is empty.")),
        recorded(
            "no model name in the second task",
            multi(task("examples", "classify") + "tasks { } " + QUARTER),
            invalid("Found ModelSpec with an empty model name."),
        ),
        recorded(
            "tasks of two models",
            multi(task("examples", "classify") + task("affine", "classify") + QUARTER),
            invalid("All ModelSpecs in a MultiInferenceRequest must access the same model name."),
        ),
        recorded(
            "a signature twice",
            multi(task("examples", "classify") * 2 + QUARTER),
            invalid("Duplicate evaluation of signature: serving_default"),
        ),
        recorded(
            "unknown signature",
            multi(task("examples", "classify", "nope") + QUARTER),
            invalid("Requested signature not found in model graph: nope"),
        ),
        recorded(
            "unknown method",
            multi(task("examples", "predict") + QUARTER),
            refused(
                "UNIMPLEMENTED", "Unsupported signature method_name: tensorflow/serving/predict"
            ),
        ),
        recorded(
            "unknown model",
            multi(task("nope", "classify") + QUARTER),
            refused("NOT_FOUND", "Servable not found for request: Latest(nope)"),
        ),
        recorded(
            "unknown version",
            multi(task("examples", "classify", choice=version(9)) + QUARTER),
            refused("NOT_FOUND", "Servable not found for request: Specific(examples, 9)"),
        ),
        recorded(
            "classes of a signature without them",
            multi(task("affine", "classify") + QUARTER),
            invalid(f"No classification inputs found in SignatureDef: {AFFINE_SIGNATURE}"),
        ),
        read(
            "a signature for Predict, when method names are checked",
            multi(task("examples", "regress", "predict") + QUARTER),
            invalid(
                "Expected regression signature method_name to be tensorflow/serving/regress. Was: "
                "tensorflow/serving/predict"
            ),
            "flags",
        ),
        recorded(
            "a fault in the second task's answer",
            multi(task("examples", "classify") + task("examples", "regress", "matrix") + QUARTER),
            invalid("Expected output Tensor shape to be either [batch_size] or …"),
        ),
    ),
)
