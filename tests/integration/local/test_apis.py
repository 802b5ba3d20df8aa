"""Classify, Regress and MultiInference over real sockets: what the conformance table cannot ask.

The table's models have no such signatures. Codes and texts are those of TensorFlow Serving's source
(classifier.cc, regressor.cc, multi_inference.cc, json_tensor.cc of 2.19).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format, text_format
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    input_pb2,
    predict_pb2,
    regression_pb2,
)

from tests import tiny_models
from tests.integration.example_models import CLASSIFY, REGRESS, save_examples
from tests.integration.local_server_fixtures import RunningServer, running_server

CONFIG = """model_config_list {
  config { name: "examples" base_path: "/models/examples" model_platform: "tensorflow" }
  config { name: "tf2" base_path: "/models/tf2" model_platform: "tensorflow" }
}"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("apis")
    save_examples(folder / "models" / "examples" / "3")
    many = tiny_models.Many()
    signatures = {"serving_default": many.serve, "classify": many.classify}
    tiny_models.save(many, folder / "models" / "tf2" / "1", **signatures)
    return folder


@pytest.fixture(scope="module")
def server(models: Path) -> Iterator[RunningServer]:
    with running_server(models, config=CONFIG) as running:
        yield running


def examples(*values: float, context: float | None = None) -> Any:
    sent = input_pb2.Input()
    where: Any = sent.example_list
    if context is not None:
        where = sent.example_list_with_context
        where.context.features.feature["x"].float_list.value.append(context)
    for value in values:
        where.examples.add().features.feature["x"].float_list.value.append(value)
    return sent


def task(signature: str, method: str, model: str = "examples") -> Any:
    found = inference_pb2.InferenceTask(method_name=method)
    found.model_spec.name = model
    found.model_spec.signature_name = signature
    return found


def ask(server: RunningServer, method: str, request: Any) -> Any:
    """The answer as a dict, or (code, text)."""
    try:
        answer = getattr(server.prediction, method)(request, timeout=20)
    except grpc.RpcError as error:
        return error.code().name, error.details()
    return json_format.MessageToDict(answer, preserving_proto_field_name=True)


def classify(server: RunningServer, signature: str, sent: Any, model: str = "examples") -> Any:
    request = classification_pb2.ClassificationRequest(input=sent)
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    return ask(server, "Classify", request)


def regress(server: RunningServer, signature: str, sent: Any) -> Any:
    request = regression_pb2.RegressionRequest(input=sent)
    request.model_spec.name = "examples"
    request.model_spec.signature_name = signature
    return ask(server, "Regress", request)


def multi(server: RunningServer, sent: Any, *tasks: Any) -> Any:
    return ask(
        server, "MultiInference", inference_pb2.MultiInferenceRequest(input=sent, tasks=tasks)
    )


def rest(server: RunningServer, path: str, body: Any) -> tuple[int, Any]:
    status, _, text = server.rest("POST", f"/v1/models/{path}", json.dumps(body))
    return status, json.loads(text)


def spec(signature: str) -> dict[str, str]:
    return {"name": "examples", "version": "3", "signature_name": signature}


def test_a_classification_may_have_scores_beside_another_output(server: RunningServer) -> None:
    answer = classify(server, "scores_and_more", examples(0.25))

    classes = [{"score": 0.75}, {"score": 0.25}]
    assert answer["result"]["classifications"] == [{"classes": classes}]


def test_the_context_is_a_part_of_every_example(server: RunningServer) -> None:
    sent = examples(1.0, context=3.0)
    sent.example_list_with_context.examples.add()

    answer = regress(server, "regress", sent)

    assert answer["result"]["regressions"] == [{"value": 2.0}, {"value": 6.0}]


def test_several_tasks_are_answered_in_one_request(server: RunningServer) -> None:
    answer = multi(
        server,
        examples(0.25),
        task("regress", REGRESS),
        task("classify", CLASSIFY),
        task("classes_only", CLASSIFY),
        task("regress_column", REGRESS),
    )

    low, high = {"label": "low", "score": 0.75}, {"label": "high", "score": 0.25}
    classes = [{"label": "low"}, {"label": "high"}]
    assert answer == {
        "results": [
            {
                "model_spec": spec("regress"),
                "regression_result": {"regressions": [{"value": 0.5}]},
            },
            {
                "model_spec": spec("classify"),
                "classification_result": {"classifications": [{"classes": [low, high]}]},
            },
            {
                "model_spec": spec("classes_only"),
                "classification_result": {"classifications": [{"classes": classes}]},
            },
            {
                "model_spec": spec("regress_column"),
                "regression_result": {"regressions": [{"value": 0.5}]},
            },
        ]
    }


def test_tasks_with_inputs_of_their_own_are_fed_the_same_examples(server: RunningServer) -> None:
    sent = examples(0.25, 0.5)
    lengths = [len(one.SerializeToString()) for one in sent.example_list.examples]

    answer = multi(server, sent, task("regress", REGRESS), task("regress_lengths", REGRESS))

    found = [row["regression_result"]["regressions"] for row in answer["results"]]
    assert found == [
        [{"value": 0.5}, {"value": 1.0}],
        [{"value": float(length)} for length in lengths],
    ]


def test_the_first_task_says_which_version_answers(server: RunningServer) -> None:
    first, second = task("regress", REGRESS), task("classify", CLASSIFY)
    second.model_spec.version.value = 9

    answer = multi(server, examples(0.25), first, second)
    refused = multi(server, examples(0.25), second, first)

    assert [row["model_spec"]["version"] for row in answer["results"]] == ["3", "3"]
    assert refused == ("NOT_FOUND", "Servable not found for request: Specific(examples, 9)")


CLASSIFY_REFUSALS = {
    "": "No signature was found with the name: serving_default",
    "classify_number": "Expects arg[0] to be float but string is provided",
    "classes_as_scores": "Expected scores Tensor of DT_FLOAT. Got: DT_STRING",
}


@pytest.mark.parametrize("signature", CLASSIFY_REFUSALS)
def test_what_is_no_classification_is_refused(server: RunningServer, signature: str) -> None:
    answer = classify(server, signature, examples(0.25, 1.0))

    assert answer == ("INVALID_ARGUMENT", CLASSIFY_REFUSALS[signature])


REGRESS_REFUSALS = {
    "": "No signature was found with the name: serving_default",
    "regress_scalar": (
        "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got []"
    ),
}


@pytest.mark.parametrize("signature", REGRESS_REFUSALS)
def test_what_is_no_regression_is_refused(server: RunningServer, signature: str) -> None:
    answer = regress(server, signature, examples(0.25, 1.0))

    assert answer == ("INVALID_ARGUMENT", REGRESS_REFUSALS[signature])


def test_a_context_without_examples_is_refused(server: RunningServer) -> None:
    sent = examples(context=1.0)
    refusal = ("INVALID_ARGUMENT", "Input is empty.")

    assert classify(server, "classify", sent) == refusal
    assert regress(server, "regress", sent) == refusal
    assert multi(server, sent, task("regress", REGRESS)) == refusal


MULTI_REFUSALS: list[tuple[list[Any], str, str]] = [
    ([inference_pb2.InferenceTask()], "INVALID_ARGUMENT", "ModelSpec has no name specified."),
    (
        [task("", REGRESS)],
        "INVALID_ARGUMENT",
        "Requested signature not found in model graph: serving_default",
    ),
    ([task("regress", "")], "UNIMPLEMENTED", "Unsupported signature method_name: "),
    ([task("classify", REGRESS)], "INVALID_ARGUMENT", "Expected one output Tensor."),
]


@pytest.mark.parametrize(("tasks", "code", "text"), MULTI_REFUSALS)
def test_tasks_that_do_not_go_together_are_refused(
    server: RunningServer, tasks: list[Any], code: str, text: str
) -> None:
    assert multi(server, examples(0.25), *tasks) == (code, text)


def test_method_names_do_not_matter_unless_asked_for(server: RunningServer) -> None:
    assert "result" in classify(server, "classify_as_predict", examples(0.25))
    assert "result" in regress(server, "regress_as_predict", examples(0.25))
    assert "result" in classify(server, "classify", examples(0.25), model="tf2")
    assert "results" in multi(server, examples(0.25), task("regress_as_predict", REGRESS))
    assert predict(server, "nameless_method", "float_val: 2")["outputs"]["y"]["float_val"] == [4.0]


def predict(server: RunningServer, signature: str, values: str) -> Any:
    request = text_format.Parse(
        f'model_spec {{ name: "examples" signature_name: "{signature}" }} inputs {{ key: "x" '
        f"value {{ dtype: DT_FLOAT tensor_shape {{ dim {{ size: 1 }} }} {values} }} }}",
        predict_pb2.PredictRequest(),
    )
    return ask(server, "Predict", request)


@pytest.mark.parametrize(
    ("path", "body", "status", "error"),
    [
        ("nope:classify", {}, 400, "JSON Value: {} When method is classify, key 'examples' is "),
        ("examples:classify", {"examples": [{"x": 1.0}]}, 400, "No signature was found with the "),
        ("examples/versions/9:regress", {"examples": [{}]}, 404, "Servable not found for reque"),
        ("examples:CLASSIFY", {"examples": [{}]}, 400, "Malformed request: POST /v1/models/exam"),
    ],
)
def test_rest_refuses_what_it_cannot_classify_or_regress(
    server: RunningServer, path: str, body: Any, status: int, error: str
) -> None:
    answer = rest(server, path, body)

    assert answer[0] == status
    assert answer[1]["error"].startswith(error)
