"""Classify and Regress over gRPC."""

from __future__ import annotations

from typing import Any

from tests.conformance.case import (
    Answer,
    Case,
    Rpc,
    Subject,
    invalid,
    read,
    recorded,
    refused,
    spec as answer_spec,
)
from tests.conformance.table.requests import AFFINE, MANY, examples, feature, label, spec, version

X = examples(2)
QUARTER = examples(0.25)
TWO_ROWS = examples(0.25, 0.5)
EMPTY = "input { example_list { } } "
CONTEXT = (
    f"input {{ example_list_with_context {{ context {{ {feature('x', 0.25)} }} "
    f"examples {{ {feature('z', 1)} }} examples {{ }} }} }} "
)
EXAMPLES = spec("examples")

AFFINE_SIGNATURE = (
    'inputs { key: "x" value { name: "serving_default_x:0" dtype: DT_FLOAT tensor_shape { '
    'dim { size: -1 } } } } outputs { key: "y" value { name: "StatefulPartitionedCall:0" '
    "dtype: DT_FLOAT tensor_shape { dim { size: -1 } } } } "
    'method_name: "tensorflow/serving/predict" '
)
"""As the texts quote it; white space aside."""


def classify(request: str) -> Rpc:
    return Rpc("Classify", request)


def regress(request: str) -> Rpc:
    return Rpc("Regress", request)


def row(low: float | None, high: float | None, labels: bool = True) -> dict[str, Any]:
    """The classes of one example; what a signature does not have is left out."""
    pairs = (("low", low), ("high", high))
    return {
        "classes": [
            {**({"label": name} if labels else {}), **({} if score is None else {"score": score})}
            for name, score in pairs
        ]
    }


def classified(*rows: dict[str, Any], signature: str = "serving_default") -> Answer:
    return Answer(
        {
            "result": {"classifications": list(rows)},
            "model_spec": answer_spec("examples", 1, signature),
        }
    )


def regressed(*values: float, signature: str = "regress") -> Answer:
    return Answer(
        {
            "result": {"regressions": [{"value": value} for value in values]},
            "model_spec": answer_spec("examples", 1, signature),
        }
    )


def on(signature: str, rows: str = QUARTER) -> str:
    return spec("examples", signature=signature) + rows


def _missing(call: Any, word: str, method: str) -> tuple[Case, ...]:
    """What Classify and Regress refuse alike."""
    no_input = invalid(f"No {word} inputs found in SignatureDef: {AFFINE_SIGNATURE}")
    return (
        recorded(f"{method} without a {method} signature", call(AFFINE + X), no_input),
        recorded(f"{method} no input", call(AFFINE), no_input),
        recorded(
            f"{method} unknown model",
            call(spec("nope") + X),
            refused("NOT_FOUND", "Servable not found for request: Latest(nope)"),
        ),
        recorded(
            f"{method} unknown signature",
            call(spec("affine", signature="nope") + X),
            invalid("No signature was found with the name: nope"),
        ),
        recorded(f"{method} nothing at all", call(""), invalid("Missing ModelSpec")),
        recorded(
            f"{method} unknown version",
            call(spec("examples", version(9)) + X),
            refused("NOT_FOUND", "Servable not found for request: Specific(examples, 9)"),
        ),
        recorded(
            f"{method} unknown label",
            call(spec("examples", label("nope")) + X),
            invalid("Unrecognized servable version label: nope"),
        ),
        recorded(
            f"{method} with two inputs", call(MANY + X), invalid("Expected one input Tensor.")
        ),
    )


CLASSIFY = Subject(
    "Classify",
    (
        recorded("one example", classify(EXAMPLES + QUARTER), classified(row(0.75, 0.25))),
        recorded(
            "two examples",
            classify(EXAMPLES + TWO_ROWS),
            classified(row(0.75, 0.25), row(0.5, 0.5)),
        ),
        recorded(
            "by version",
            classify(spec("examples", version(1)) + QUARTER),
            classified(row(0.75, 0.25)),
        ),
        recorded(
            "examples with a context",
            classify(EXAMPLES + CONTEXT),
            classified(row(0.75, 0.25), row(0.75, 0.25)),
        ),
        recorded(
            "scores alone",
            classify(on("scores")),
            classified(row(0.75, 0.25, labels=False), signature="scores"),
        ),
        recorded(
            "classes alone",
            classify(on("classes")),
            classified(row(None, None), signature="classes"),
        ),
        *_missing(classify, "classification", "classify"),
        recorded("no examples", classify(EXAMPLES + EMPTY), invalid("Input is empty.")),
        recorded("no input", classify(EXAMPLES), invalid("Input is empty.")),
        recorded(
            "a feature of another dtype",
            classify(
                EXAMPLES + QUARTER.replace("float_list { value: 0.25 }", "int64_list { value: 1 }")
            ),
            invalid("…Key: x, …Data type: int64 but expected type: float…"),
        ),
        recorded(
            "a feature that is not there",
            classify(EXAMPLES + QUARTER.replace('key: "x"', 'key: "z"')),
            invalid("…Feature: x (data type: float) is required but could not be found.…"),
        ),
        recorded(
            "neither classes nor scores",
            classify(on("no_scores")),
            invalid(
                'Expected classification signature outputs to contain at least one of "classes" or '
                '"scores". Signature was: …'
            ),
        ),
        recorded(
            "three outputs",
            classify(on("three")),
            invalid("Expected one or two output Tensors, found 3"),
        ),
        recorded(
            "scores that are a vector",
            classify(on("vector")),
            invalid("Expected Tensor shape: [batch_size num_classes] but got [1]"),
        ),
        recorded(
            "more scores than classes",
            classify(on("wide")),
            invalid("Tensors class and score should match in dim_size(1). Got 2 vs. 4"),
        ),
        recorded(
            "scores for some examples only",
            classify(on("short", TWO_ROWS)),
            invalid("Expected scores output batch size of 2. Got: 1"),
        ),
        recorded(
            "scores of another dtype",
            classify(on("double")),
            invalid("Expected scores Tensor of DT_FLOAT. Got: DT_DOUBLE"),
        ),
        recorded(
            "classes of another dtype",
            classify(on("numbers")),
            invalid("Expected classes Tensor of DT_STRING. Got: DT_FLOAT"),
        ),
        recorded(
            "a signature for Regress",
            classify(on("regress")),
            invalid("Expected classification signature outputs to contain at least one of …"),
        ),
        read(
            "a signature for Classify, when method names are checked",
            classify(EXAMPLES + QUARTER),
            classified(row(0.75, 0.25)),
            "flags",
        ),
        recorded(
            "a signature for Regress, when method names are checked",
            classify(on("regress")),
            invalid(
                "Expected classification signature method_name to be tensorflow/serving/classify. "
                "Was: tensorflow/serving/regress"
            ),
            "flags",
        ),
    ),
)

REGRESS = Subject(
    "Regress",
    (
        recorded("one example", regress(on("regress")), regressed(0.5)),
        recorded("two examples", regress(on("regress", TWO_ROWS)), regressed(0.5, 1.0)),
        recorded("examples with a context", regress(on("regress", CONTEXT)), regressed(0.5, 0.5)),
        recorded(
            "a column",
            regress(on("column", TWO_ROWS)),
            regressed(0.5, 1.0, signature="column"),
        ),
        *_missing(regress, "regression", "regress"),
        recorded("no examples", regress(on("regress", EMPTY)), invalid("Input is empty.")),
        recorded(
            "no output of that name",
            regress(on("no_value")),
            invalid("No regression outputs found in SignatureDef: …"),
        ),
        recorded("two outputs", regress(on("two")), invalid("Expected one output Tensor.")),
        recorded(
            "a matrix",
            regress(on("matrix")),
            invalid(
                "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got "
                "[1,2]"
            ),
        ),
        recorded(
            "values for some examples only",
            regress(on("one", TWO_ROWS)),
            invalid("Input batch size did not match output batch size: 2 vs. 1"),
        ),
        recorded(
            "values of another dtype",
            regress(on("double_value")),
            invalid("Expected output Tensor of DT_FLOAT.  Got: DT_DOUBLE"),
        ),
        read(
            "a signature for Regress, when method names are checked",
            regress(on("regress")),
            regressed(0.5),
            "flags",
        ),
        recorded(
            "a signature for Predict, when method names are checked",
            regress(on("predict")),
            invalid(
                "Expected regression signature method_name to be tensorflow/serving/regress. Was: "
                "tensorflow/serving/predict"
            ),
            "flags",
        ),
    ),
)
