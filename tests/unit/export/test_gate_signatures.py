"""What the gate takes for a break of compatibility, signature by signature."""

from __future__ import annotations

from typing import Any

import pytest

from export.gate import signatures as gate_signatures
from tfs_client import contract


def _described() -> dict[str, Any]:
    images = {"images": {"dtype": "uint8", "shape": [None, 64, 64, 3]}}
    return {
        "serving_default": {
            "method": contract.METHOD_PREDICT,
            "inputs": {"image_bytes": {"dtype": "string", "shape": [None]}},
            "outputs": {
                name: {"dtype": "float32", "shape": [None]} for name in contract.DECISION_OUTPUTS
            },
        },
        "predict_images": {
            "method": contract.METHOD_PREDICT,
            "inputs": images,
            "outputs": {
                name: {"dtype": "float32", "shape": [None]} for name in contract.DECISION_OUTPUTS
            },
        },
    }


@pytest.mark.parametrize(
    ("where", "value", "problem"),
    [
        (["predict_images"], None, "no signature predict_images"),
        (["predict_images", "method"], "other", "predict_images is other, not tensorflow/"),
        (["predict_images", "inputs", "images"], None, "predict_images has no input images"),
        (
            ["predict_images", "inputs", "more"],
            {"dtype": "string", "shape": []},
            "predict_images asks for one more input: more",
        ),
        (
            ["predict_images", "inputs", "images", "dtype"],
            "float32",
            "input images is float32 [N, 64, 64, 3], not uint8 [N, 64, 64, 3]",
        ),
        (["serving_default", "outputs", "label"], None, "serving_default has no output label"),
        (
            ["serving_default", "outputs", "valid", "shape"],
            [None, 1],
            "output valid is float32 [N, 1], not float32 [N]",
        ),
        (["serving_default", "outputs", "valid", "shape"], None, "output valid is float32 of any"),
    ],
)
def test_what_would_break_a_caller_is_a_problem(where: list[str], value: Any, problem: str) -> None:
    candidate = _described()
    part = candidate
    for name in where[:-1]:
        part = part[name]
    if value is None and where[-1] != "shape":
        del part[where[-1]]
    else:
        part[where[-1]] = value
    problems, notes = gate_signatures.differences(_described(), candidate)
    assert (len(problems), notes) == (1, [])
    assert problem in problems[0]


def test_another_image_size_is_a_note_and_a_further_output_or_signature_is_nothing() -> None:
    candidate = _described()
    candidate["predict_images"]["inputs"]["images"]["shape"] = [None, 96, 96, 3]
    candidate["predict_images"]["outputs"]["more"] = {"dtype": "string", "shape": [None]}
    candidate["explain"] = candidate["serving_default"]
    problems, notes = gate_signatures.differences(_described(), candidate)
    assert problems == []
    assert notes == [
        "predict_images: input images is uint8 [N, 96, 96, 3]; it was uint8 [N, 64, 64, 3]"
    ]
    assert gate_signatures.lacking(candidate) == []
