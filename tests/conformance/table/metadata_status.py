"""GetModelMetadata and GetModelStatus over gRPC."""

from __future__ import annotations

from typing import Any

from tests.conformance.case import (
    Answer,
    Rpc,
    Subject,
    invalid,
    own,
    recorded,
    refused,
    spec as answer_spec,
)
from tests.conformance.table.requests import AFFINE, label, spec, version

FIELD = 'metadata_field: "signature_def" '
NO_FIELD = "GetModelMetadataRequest must specify at least one metadata_field"
UNKNOWN_OP = (
    "a version whose unknown op lies inside a function is AVAILABLE on TensorFlow Serving, and "
    "fails only when it is asked: here it is not served"
)
FINE: dict[str, Any] = {}


def metadata(request: str) -> Rpc:
    return Rpc("GetModelMetadata", request)


def status(request: str) -> Rpc:
    return Rpc("GetModelStatus", request)


def tensor_info(name: str, dtype: str, *sizes: int) -> dict[str, Any]:
    dims = [{"size": str(size)} for size in sizes]
    return {"name": name, "dtype": f"DT_{dtype}", "tensor_shape": {"dim": dims} if dims else {}}


def described(name: str, number: int, **signatures: Any) -> Answer:
    found = {
        "@type": "type.googleapis.com/tensorflow.serving.SignatureDefMap",
        "signature_def": signatures,
    }
    return Answer(
        {"model_spec": answer_spec(name, number, None), "metadata": {"signature_def": found}}
    )


def row(number: int, state: str = "AVAILABLE", fault: dict[str, str] = FINE) -> dict[str, Any]:
    return {"version": str(number), "state": state, "status": fault}


def states(*rows: dict[str, Any]) -> Answer:
    return Answer({"model_version_status": list(rows)})


INIT_OP = {
    "outputs": {"__saved_model_init_op": {"name": "NoOp", "tensor_shape": {"unknown_rank": True}}}
}
AFFINE_SIGNATURE = {
    "inputs": {"x": tensor_info("serving_default_x:0", "FLOAT", -1)},
    "outputs": {"y": tensor_info("StatefulPartitionedCall:0", "FLOAT", -1)},
    "method_name": "tensorflow/serving/predict",
}
AFFINE_SIGNATURES = {"serving_default": AFFINE_SIGNATURE, "__saved_model_init_op": INIT_OP}
NOT_FOUND = "Servable not found for request: "
BROKEN = {"error_code": "…", "error_message": "…"}
BOTH = states(row(2), row(1))

METADATA = Subject(
    "Metadata",
    (
        recorded("metadata", metadata(AFFINE + FIELD), described("affine", 2, **AFFINE_SIGNATURES)),
        recorded(
            "metadata by label",
            metadata(spec("affine", label("stable")) + FIELD),
            described("affine", 1, **AFFINE_SIGNATURES),
        ),
        recorded(
            "by version",
            metadata(spec("affine", version(1)) + FIELD),
            described("affine", 1, **AFFINE_SIGNATURES),
        ),
        recorded(
            "a signature name is passed over",
            metadata(spec("affine", signature="nope") + FIELD),
            described("affine", 2, **AFFINE_SIGNATURES),
        ),
        recorded(
            "the same field twice",
            metadata(AFFINE + FIELD + FIELD),
            described("affine", 2, **AFFINE_SIGNATURES),
        ),
        recorded(
            "a scalar of a model without serving_default",
            metadata(spec("named") + FIELD),
            described(
                "named",
                1,
                double={
                    "inputs": {"x": tensor_info("double_x:0", "FLOAT")},
                    "outputs": {"y": tensor_info("PartitionedCall:0", "FLOAT")},
                    "method_name": "tensorflow/serving/predict",
                },
                __saved_model_init_op=INIT_OP,
            ),
        ),
        recorded(
            "a model of TensorFlow 1",
            metadata(spec("old") + FIELD),
            described(
                "old",
                1,
                serving_default={
                    "inputs": {"x": tensor_info("x:0", "FLOAT", -1)},
                    "outputs": {"y": tensor_info("y:0", "FLOAT", -1)},
                    "method_name": "tensorflow/serving/predict",
                },
            ),
        ),
        recorded("metadata no field", metadata(AFFINE), invalid(NO_FIELD)),
        recorded(
            "metadata unknown field",
            metadata(AFFINE + 'metadata_field: "nope"'),
            invalid("Metadata field nope is not supported"),
        ),
        recorded(
            "an unknown field beside a known one",
            metadata(AFFINE + FIELD + 'metadata_field: "nope"'),
            invalid("Metadata field nope is not supported"),
        ),
        recorded(
            "no field comes before an unknown model",
            metadata(spec("nope")),
            invalid(NO_FIELD),
        ),
        recorded(
            "metadata unknown model",
            metadata(spec("nope") + FIELD),
            refused("NOT_FOUND", NOT_FOUND + "Latest(nope)"),
        ),
        recorded(
            "unknown version",
            metadata(spec("affine", version(9)) + FIELD),
            refused("NOT_FOUND", NOT_FOUND + "Specific(affine, 9)"),
        ),
        recorded(
            "metadata unknown label",
            metadata(spec("affine", label("nope")) + FIELD),
            invalid("Unrecognized servable version label: nope"),
        ),
        recorded("metadata no spec", metadata(FIELD), invalid("Missing ModelSpec")),
        recorded(
            "no name",
            metadata("model_spec { } " + FIELD),
            invalid("ModelSpec has no name specified."),
        ),
    ),
)

STATUS = Subject(
    "Status",
    (
        recorded("status", status(AFFINE), BOTH),
        recorded("status by version", status(spec("affine", version(2))), states(row(2))),
        recorded("status by label", status(spec("affine", label("stable"))), BOTH),
        recorded("status unknown label", status(spec("affine", label("nope"))), BOTH),
        recorded("a model with one version", status(spec("many")), states(row(1))),
        recorded(
            "status unknown version",
            status(spec("affine", version(9))),
            refused("NOT_FOUND", "Could not find version 9 of model affine"),
        ),
        recorded(
            "version zero",
            status(spec("affine", version(0))),
            refused("NOT_FOUND", "Could not find version 0 of model affine"),
        ),
        recorded(
            "negative version",
            status(spec("affine", version(-1))),
            refused("NOT_FOUND", "Could not find version -1 of model affine"),
        ),
        recorded(
            "status unknown model",
            status(spec("nope")),
            refused("NOT_FOUND", "Could not find any versions of model nope"),
        ),
        recorded(
            "unknown version of an unknown model",
            status(spec("nope", version(1))),
            refused("NOT_FOUND", "Could not find version 1 of model nope"),
        ),
        recorded("status no spec", status(""), invalid("Missing ModelSpec")),
        recorded(
            "no name",
            status("model_spec { }"),
            refused("NOT_FOUND", "Could not find any versions of model "),
        ),
        own(
            "versions that could not be loaded say so and leave the others alone",
            status(spec("assorted")),
            states(row(5, "END", BROKEN), row(4, "END", BROKEN), row(3, "END", BROKEN), row(1)),
            UNKNOWN_OP,
            "flags",
        ),
        own(
            "an unknown op is named",
            status(spec("assorted", version(4))),
            states(
                row(
                    4,
                    "END",
                    {
                        "error_code": "NOT_FOUND",
                        "error_message": "…Op type not registered 'NoSuchOp' in binary …",
                    },
                )
            ),
            UNKNOWN_OP,
            "flags",
        ),
        recorded(
            "a graph that is cut off is told",
            status(spec("assorted", version(3))),
            states(
                row(
                    3,
                    "END",
                    {
                        "error_code": "OUT_OF_RANGE",
                        "error_message": "Read less bytes than requested",
                    },
                )
            ),
            "flags",
        ),
        recorded(
            "a warm-up that fails is told",
            status(spec("assorted", version(5))),
            states(
                row(
                    5,
                    "END",
                    {
                        "error_code": "FAILED_PRECONDITION",
                        "error_message": '…Serving signature key "nope" not found.…',
                    },
                )
            ),
            "flags",
        ),
    ),
)
