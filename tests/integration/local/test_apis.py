"""Classify, Regress and MultiInference over real sockets, by gRPC and by REST.

Codes and texts are those of TensorFlow Serving's source (classifier.cc, regressor.cc,
multi_inference.cc, json_tensor.cc of 2.19).
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
from tests.integration.example_models import CLASSIFY, PREDICT, REGRESS, save_examples
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


@pytest.fixture(scope="module")
def strict(models: Path) -> Iterator[RunningServer]:
    """Cares about method names, and answers with tensor_content."""
    flags = (
        "--enable_signature_method_name_check",
        "--enable_serialization_as_tensor_content=true",
    )
    with running_server(models, *flags, config=CONFIG) as running:
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


def test_classify_answers_classes_and_scores(server: RunningServer) -> None:
    assert classify(server, "classify", examples(0.25, 1.0)) == {
        "model_spec": spec("classify"),
        "result": {
            "classifications": [
                {"classes": [{"label": "low", "score": 0.75}, {"label": "high", "score": 0.25}]},
                {"classes": [{"label": "low"}, {"label": "high", "score": 1.0}]},
            ]
        },
    }


@pytest.mark.parametrize(
    ("signature", "classes"),
    [
        ("classes_only", [{"label": "low"}, {"label": "high"}]),
        ("scores_only", [{"score": 0.75}, {"score": 0.25}]),
        ("scores_and_more", [{"score": 0.75}, {"score": 0.25}]),
    ],
)
def test_a_classification_may_have_only_classes_or_only_scores(
    server: RunningServer, signature: str, classes: list[dict[str, Any]]
) -> None:
    answer = classify(server, signature, examples(0.25))

    assert answer["result"]["classifications"] == [{"classes": classes}]


@pytest.mark.parametrize("signature", ["regress", "regress_column"])
def test_regress_answers_a_value_for_each_example(server: RunningServer, signature: str) -> None:
    assert regress(server, signature, examples(0.25, 1.0)) == {
        "model_spec": spec(signature),
        "result": {"regressions": [{"value": 0.5}, {"value": 2.0}]},
    }


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


def test_the_first_task_says_which_version_answers(server: RunningServer) -> None:
    first, second = task("regress", REGRESS), task("classify", CLASSIFY)
    second.model_spec.version.value = 9

    answer = multi(server, examples(0.25), first, second)
    refused = multi(server, examples(0.25), second, first)

    assert [row["model_spec"]["version"] for row in answer["results"]] == ["3", "3"]
    assert refused == ("NOT_FOUND", "Servable not found for request: Specific(examples, 9)")


CLASSIFY_REFUSALS = {
    "nope": "No signature was found with the name: nope",
    "": "No signature was found with the name: serving_default",
    "two_inputs": "Expected one input Tensor.",
    "three_outputs": "Expected one or two output Tensors, found 3",
    "regress_examples": "No classification inputs found in SignatureDef: inputs {",
    "no_classes": (
        "Expected classification signature outputs to contain at least one of "
        '"classes" or "scores". Signature was: inputs {'
    ),
    "classify_number": "Expects arg[0] to be float but string is provided",
    "flat_scores": "Expected Tensor shape: [batch_size num_classes] but got [2]",
    "numbers_as_classes": "Expected classes Tensor of DT_STRING. Got: DT_FLOAT",
    "classes_as_scores": "Expected scores Tensor of DT_FLOAT. Got: DT_STRING",
    "one_row_of_scores": "Expected scores output batch size of 2. Got: 1",
    "widths_that_differ": "Tensors class and score should match in dim_size(1). Got 2 vs. 1",
}


@pytest.mark.parametrize("signature", CLASSIFY_REFUSALS)
def test_what_is_no_classification_is_refused(server: RunningServer, signature: str) -> None:
    code, text = classify(server, signature, examples(0.25, 1.0))

    assert code == "INVALID_ARGUMENT"
    assert text.startswith(CLASSIFY_REFUSALS[signature])
    assert "{" in text or text == CLASSIFY_REFUSALS[signature]


REGRESS_REFUSALS = {
    "nope": "No signature was found with the name: nope",
    "": "No signature was found with the name: serving_default",
    "two_inputs": "Expected one input Tensor.",
    "classify": "Expected one output Tensor.",
    "regress_examples": "No regression inputs found in SignatureDef: inputs {",
    "regress_values": "No regression outputs found in SignatureDef: inputs {",
    "regress_matrix": (
        "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got [2,2]"
    ),
    "regress_scalar": (
        "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got []"
    ),
    "regress_total": "Input batch size did not match output batch size: 2 vs. 1",
    "regress_double": "Expected output Tensor of DT_FLOAT.  Got: DT_DOUBLE",
}


@pytest.mark.parametrize("signature", REGRESS_REFUSALS)
def test_what_is_no_regression_is_refused(server: RunningServer, signature: str) -> None:
    code, text = regress(server, signature, examples(0.25, 1.0))

    assert code == "INVALID_ARGUMENT"
    assert text.startswith(REGRESS_REFUSALS[signature])
    assert "{" in text or text == REGRESS_REFUSALS[signature]


@pytest.mark.parametrize("sent", [input_pb2.Input(), examples(), examples(context=1.0)])
def test_no_examples_are_refused(server: RunningServer, sent: Any) -> None:
    refusal = ("INVALID_ARGUMENT", "Input is empty.")

    assert classify(server, "classify", sent) == refusal
    assert regress(server, "regress", sent) == refusal
    assert multi(server, sent, task("regress", REGRESS)) == refusal


def test_a_request_without_a_model_is_refused(server: RunningServer) -> None:
    refusal = ("INVALID_ARGUMENT", "Missing ModelSpec")

    assert ask(server, "Classify", classification_pb2.ClassificationRequest()) == refusal
    assert ask(server, "Regress", regression_pb2.RegressionRequest()) == refusal


def test_a_feature_of_another_kind_is_refused_by_the_graph(server: RunningServer) -> None:
    sent = text_format.Parse(
        'example_list { examples { features { feature { key: "x" value { int64_list { value: 1 } } '
        "} } } }",
        input_pb2.Input(),
    )

    code, text = regress(server, "regress", sent)

    assert code == "INVALID_ARGUMENT"
    assert "Data type: int64 but expected type: float" in text


MULTI_REFUSALS: list[tuple[list[Any], str, str]] = [
    ([], "INVALID_ARGUMENT", "ModelSpec has no name specified."),
    ([inference_pb2.InferenceTask()], "INVALID_ARGUMENT", "ModelSpec has no name specified."),
    (
        [task("regress", REGRESS, "nope")],
        "NOT_FOUND",
        "Servable not found for request: Latest(nope)",
    ),
    (
        [task("regress", REGRESS), task("classify", CLASSIFY, "")],
        "INVALID_ARGUMENT",
        "Found ModelSpec with an empty model name.",
    ),
    (
        [task("regress", REGRESS), task("classify", CLASSIFY, "tf2")],
        "INVALID_ARGUMENT",
        "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
    ),
    (
        [task("regress", REGRESS), task("regress", REGRESS)],
        "INVALID_ARGUMENT",
        "Duplicate evaluation of signature: regress",
    ),
    (
        [task("", REGRESS)],
        "INVALID_ARGUMENT",
        "Requested signature not found in model graph: serving_default",
    ),
    (
        [task("regress", PREDICT)],
        "UNIMPLEMENTED",
        "Unsupported signature method_name: tensorflow/serving/predict",
    ),
    ([task("regress", "")], "UNIMPLEMENTED", "Unsupported signature method_name: "),
    ([task("classify", REGRESS)], "INVALID_ARGUMENT", "Expected one output Tensor."),
    (
        [task("regress", REGRESS), task("regress_lengths", REGRESS)],
        "INVALID_ARGUMENT",
        "Input tensor must be the same for all Signatures.",
    ),
    (
        [task("classify", CLASSIFY), task("regress_double", REGRESS)],
        "INVALID_ARGUMENT",
        "Expected output Tensor of DT_FLOAT.  Got: DT_DOUBLE",
    ),
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


def test_method_names_are_checked_where_that_is_asked_for(strict: RunningServer) -> None:
    classification = (
        "INVALID_ARGUMENT",
        "Expected classification signature method_name to be tensorflow/serving/classify. "
        "Was: tensorflow/serving/predict",
    )
    regression = (
        "INVALID_ARGUMENT",
        "Expected regression signature method_name to be tensorflow/serving/regress. "
        "Was: tensorflow/serving/predict",
    )

    assert classify(strict, "classify_as_predict", examples(0.25)) == classification
    assert classify(strict, "classify", examples(0.25), model="tf2") == classification
    assert regress(strict, "regress_as_predict", examples(0.25)) == regression
    assert multi(strict, examples(0.25), task("regress_as_predict", REGRESS)) == regression
    assert predict(strict, "nameless_method", "float_val: 2") == (
        "INTERNAL",
        "Expected prediction signature method_name to be one of {tensorflow/serving/predict, "
        "tensorflow/serving/classify, tensorflow/serving/regress}. Was: ",
    )
    assert rest(strict, "examples:regress", {"signature_name": "regress_as_predict"})[0] == 400
    assert "result" in classify(strict, "classify", examples(0.25))
    assert "result" in regress(strict, "regress", examples(0.25))


def predict(server: RunningServer, signature: str, values: str) -> Any:
    request = text_format.Parse(
        f'model_spec {{ name: "examples" signature_name: "{signature}" }} inputs {{ key: "x" '
        f"value {{ dtype: DT_FLOAT tensor_shape {{ dim {{ size: 1 }} }} {values} }} }}",
        predict_pb2.PredictRequest(),
    )
    return ask(server, "Predict", request)


def test_outputs_come_as_tensor_content_where_that_is_asked_for(strict: RunningServer) -> None:
    request = text_format.Parse(
        'model_spec { name: "tf2" } inputs { key: "a" value { dtype: DT_FLOAT tensor_shape { '
        "dim { size: 2 } dim { size: 3 } } float_val: 1 } } inputs { key: "
        '"b" value { dtype: DT_INT64 tensor_shape { dim { size: 2 } } int64_val: 4 int64_val: 123 '
        "} }",
        predict_pb2.PredictRequest(),
    )

    outputs = strict.prediction.Predict(request, timeout=20).outputs

    assert outputs["total"].tensor_content == b"\0\0\xe0\x40\0\0\xfc\x42"
    assert outputs["parity"].tensor_content == b"\1\0"
    assert outputs["name"].tensor_content == b"\1\0034123"
    assert not outputs["total"].float_val


def test_rest_classifies_in_tensorflow_servings_layout(server: RunningServer) -> None:
    body = json.dumps({"signature_name": "classify", "examples": [{"x": 0.25}, {"x": [1.0]}]})

    status, kind, text = server.rest("POST", "/v1/models/examples:classify", body)

    assert (status, kind) == (200, "application/json")
    assert text == (
        '{\n    "results": [[["low", 0.75], ["high", 0.25]], [["low", 0.0], ["high", 1.0]]\n'
        "    ]\n}"
    )


@pytest.mark.parametrize(
    ("signature", "row"),
    [("classes_only", [["low", 0.0], ["high", 0.0]]), ("scores_only", [["", 0.75], ["", 0.25]])],
)
def test_rest_answers_both_parts_of_a_class_whatever_the_model_has(
    server: RunningServer, signature: str, row: list[Any]
) -> None:
    body = {"signature_name": signature, "examples": [{"x": 0.25}]}

    assert rest(server, "examples:classify", body) == (200, {"results": [row]})


def test_rest_regresses_in_tensorflow_servings_layout(server: RunningServer) -> None:
    body = json.dumps({"signature_name": "regress", "context": {"x": 3.0}, "examples": [{}, {}]})

    answer = server.rest("POST", "/v1/models/examples/versions/3:regress", body)

    assert answer == (200, "application/json", '{\n    "results": [6.0, 6.0]\n}')


@pytest.mark.parametrize(
    ("path", "body", "status", "error"),
    [
        ("nope:classify", {"examples": [{"x": 1.0}]}, 404, "Servable not found for request: "),
        ("nope:classify", {}, 400, "JSON Value: {} When method is classify, key 'examples' is "),
        ("examples:classify", {"examples": [{"x": 1.0}]}, 400, "No signature was found with the "),
        ("examples:regress", {"examples": 1}, 400, 'JSON Value: {\n    "examples": 1\n} Expect'),
        ("examples:regress", {"examples": []}, 400, 'JSON Value: {\n    "examples": []\n} \'exam'),
        ("examples:regress", {"examples": [1]}, 400, "Example must be JSON object but got JSON "),
        ("examples/versions/9:regress", {"examples": [{}]}, 404, "Servable not found for reque"),
        ("examples/labels/nope:regress", {"examples": [{}]}, 400, "Unrecognized servable version"),
        ("examples:CLASSIFY", {"examples": [{}]}, 400, "Malformed request: POST /v1/models/exam"),
    ],
)
def test_rest_refuses_what_it_cannot_classify_or_regress(
    server: RunningServer, path: str, body: Any, status: int, error: str
) -> None:
    answer = rest(server, path, body)

    assert answer[0] == status
    assert answer[1]["error"].startswith(error)
