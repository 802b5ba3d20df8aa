"""Predict over real sockets: every dtype, shapes, default inputs, signatures without inputs.

And warm-up with each kind of request, which has to succeed before the server answers at all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow.python.framework import dtypes
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from serving.local.apis import tensor_proto
from serving.local.dtypes import DTYPE_NAMES, NUMPY_DTYPES
from serving.local.errors import ServingError
from serving.local.loading.loader import ModelLoader
from serving.local.loading.saved_model import SessionOptions
from serving.local.loading.warmup import WarmupOptions
from tests.integration.example_models import (
    save_dtypes,
    save_examples,
    save_inputs,
    write_warmup,
)
from tests.integration.local_server_fixtures import RunningServer, running_server

CONFIG = """model_config_list {
  config { name: "inputs" base_path: "/models/inputs" model_platform: "tensorflow" }
  config { name: "dtypes" base_path: "/models/dtypes" model_platform: "tensorflow" }
  config { name: "examples" base_path: "/models/examples" model_platform: "tensorflow" }
}"""

EXAMPLE = (
    "input { example_list { examples { features { feature { "
    'key: "x" value { float_list { value: 0.25 } } } } } } }'
)


def warmup_log(text: str) -> prediction_log_pb2.PredictionLog:
    return text_format.Parse(text, prediction_log_pb2.PredictionLog())


WARMUP = (
    warmup_log(
        f'classify_log {{ request {{ model_spec {{ signature_name: "classify" }} {EXAMPLE} }} }}'
    ),
    warmup_log(
        f'regress_log {{ request {{ model_spec {{ signature_name: "regress" }} {EXAMPLE} }} }}'
    ),
    warmup_log(
        'multi_inference_log { request { tasks { model_spec { name: "examples" signature_name: '
        '"regress" } method_name: "tensorflow/serving/regress" } '
        f"{EXAMPLE} }} }}"
    ),
    prediction_log_pb2.PredictionLog(),
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("predict")
    save_inputs(folder / "models" / "inputs" / "1")
    save_dtypes(folder / "models" / "dtypes" / "1", map(dtypes.as_dtype, NUMPY_DTYPES))
    write_warmup(save_examples(folder / "models" / "examples" / "1"), *WARMUP)
    with running_server(folder, config=CONFIG) as running:
        yield running


def request(signature: str, model: str = "inputs", **inputs: Any) -> Any:
    """Values are float32 unless they are TensorProtos."""
    sent = predict_pb2.PredictRequest()
    sent.model_spec.name = model
    sent.model_spec.signature_name = signature
    for alias, value in inputs.items():
        proto = isinstance(value, tf.make_tensor_proto(0).__class__)
        sent.inputs[alias].CopyFrom(value if proto else tf.make_tensor_proto(value, tf.float32))
    return sent


def ask(server: RunningServer, sent: Any) -> Any:
    """Alias → values, or (code, text)."""
    try:
        answer = server.prediction.Predict(sent, timeout=20)
    except grpc.RpcError as error:
        return error.code().name, error.details()
    return {alias: tf.make_ndarray(proto).tolist() for alias, proto in answer.outputs.items()}


@pytest.mark.parametrize("encode", [tensor_proto.encode, tensor_proto.encode_content])
@pytest.mark.parametrize("number", NUMPY_DTYPES, ids=DTYPE_NAMES.get)
def test_every_dtype_goes_through_the_server_in_both_encodings(
    server: RunningServer, number: int, encode: Any
) -> None:
    kind = NUMPY_DTYPES[number]
    plain = kind[0] if kind.names else kind
    array = np.array([b"", b"ab", b"c\0"], object) if number == 7 else np.array([0, 1, 7], plain)
    proto = tf.make_tensor_proto(0).__class__()
    encode(array, number, proto)

    answer = server.prediction.Predict(
        request(dtypes.as_dtype(number).name, "dtypes", x=proto), timeout=20
    ).outputs["y"]

    assert (answer.dtype, answer.tensor_content) == (number, b"")
    np.testing.assert_array_equal(tensor_proto.decode(answer).view(plain), array)


def test_a_shape_that_is_not_fixed_takes_every_shape(server: RunningServer) -> None:
    assert ask(server, request("any_shape", x=2.0)) == {"y": 4.0, "rank": 0}
    assert ask(server, request("any_shape", x=[[[1.0, 2.0]]])) == {"y": [[[2.0, 4.0]]], "rank": 3}
    assert ask(server, request("any_shape", x=np.zeros((0, 3)))) == {"y": [], "rank": 2}
    assert ask(server, request("pairs", x=[[1.0, 2.0], [3.0, 4.0]])) == {"y": [3.0, 7.0]}
    assert ask(server, request("pairs", x=np.zeros((0, 2)))) == {"y": []}


def test_an_unknown_rank_with_dimensions_has_these_dimensions(server: RunningServer) -> None:
    proto = tf.make_tensor_proto([[1.0, 2.0]])
    proto.tensor_shape.unknown_rank = True

    assert ask(server, request("pairs", x=proto)) == {"y": [3.0]}


def test_a_default_stands_in_for_an_input_that_is_not_sent(server: RunningServer) -> None:
    assert ask(server, request("with_default", x=[1.0, 2.0])) == {"y": [10.0, 20.0]}
    assert ask(server, request("with_default", x=[1.0, 2.0], scale=3.0)) == {"y": [3.0, 6.0]}


@pytest.mark.parametrize(
    ("signature", "inputs", "text"),
    [
        (
            "with_default",
            {"scale": 3.0},
            "Signature input alias: x(feed name: x:0) not found in request and no default value "
            "provided. Inputs expected to be in the request {scale}, or default input alias set: "
            "scale",
        ),
        (
            "with_default",
            {},
            "Signature input alias: x(feed name: x:0) not found in request and no default value "
            "provided. Inputs expected to be in the request {}, or default input alias set: scale",
        ),
        (
            "with_default",
            {"x": [1.0], "z": 1.0},
            "Inputs contains invalid name. Used request inputs: x, request input: x,z",
        ),
        (
            "with_default",
            {"x": [1.0], "y": 1.0, "z": 1.0},
            "input size does not match signature: 3!=2 len({x,y,z}) != len({scale,x}). "
            "Sent extra: {y,z}. Missing but required: {scale}.",
        ),
        ("with_broken_default", {"x": [1.0]}, "tensor parsing error: scale"),
        (
            "pairs",
            {"pair:0": [[1.0, 2.0]]},
            "Signature input alias: x(feed name: pair:0) not found in request and no default value "
            "provided. Inputs expected to be in the request {pair:0}, or default input alias set: ",
        ),
        (
            "two_dtypes",
            {"a": 1.0, "b": 1.0},
            "Expects arg[0] to be int32 but float is provided",
        ),
        ("own_input", {"x": [1.0]}, "x:0 is both fed and fetched."),
    ],
)
def test_inputs_that_are_not_the_signatures_are_refused(
    server: RunningServer, signature: str, inputs: dict[str, Any], text: str
) -> None:
    assert ask(server, request(signature, **inputs)) == ("INVALID_ARGUMENT", text)


def test_a_signature_without_inputs_is_answered_by_grpc_only(server: RunningServer) -> None:
    assert ask(server, request("without_inputs")) == {"y": [1.0, 2.0]}
    body = json.dumps({"signature_name": "without_inputs", "inputs": {}})
    status, _, text = server.rest("POST", "/v1/models/inputs:predict", body)
    assert status == 400
    assert json.loads(text)["error"] == "Failed to get input map for signature: without_inputs"


def test_a_model_need_not_have_a_default_signature(server: RunningServer) -> None:
    assert ask(server, request("", x=[1.0])) == (
        "FAILED_PRECONDITION",
        'Serving signature key "serving_default" not found.',
    )
    status, _, text = server.rest("POST", "/v1/models/inputs:predict", '{"instances": [1.0]}')
    assert status == 400
    assert json.loads(text)["error"] == (
        'Serving signature name: "serving_default" not found in signature def'
    )


def test_rest_refuses_the_dtypes_that_json_does_not_speak(server: RunningServer) -> None:
    body = json.dumps({"signature_name": "float16", "inputs": [1.0]})
    status, _, text = server.rest("POST", "/v1/models/dtypes:predict", body)
    assert (status, json.loads(text)["error"]) == (
        501,
        "Conversion of JSON Value: 1.0 to type: half",
    )


def test_rest_writes_outputs_named_bytes_as_base64(server: RunningServer) -> None:
    body = json.dumps({"signature_name": "as_bytes", "instances": [1.0]})
    _, _, text = server.rest("POST", "/v1/models/inputs:predict", body)
    assert json.loads(text) == {"predictions": [{"b64": "MS4wMDAwMDA="}]}


def test_every_kind_of_request_warms_a_version_up(server: RunningServer) -> None:
    assert "warmed examples version 1 up with 4 requests" in server.log()


@pytest.mark.parametrize(
    ("log", "text"),
    [
        ("session_run_log { }", "UNIMPLEMENTED: Unsupported log_type for warmup: 5"),
        (
            'regress_log { request { model_spec { signature_name: "classify" } ' + EXAMPLE + "} }",
            "INVALID_ARGUMENT: Expected one output Tensor.",
        ),
        ("multi_inference_log { request { } }", "INVALID_ARGUMENT: Input is empty."),
        (
            f"multi_inference_log {{ request {{ {EXAMPLE} }} }}",
            "INVALID_ARGUMENT: Tensor :0, specified in either feed_devices or fetch_devices was "
            "not found in the Graph",
        ),
    ],
)
def test_a_warm_up_request_that_fails_fails_the_load(tmp_path: Path, log: str, text: str) -> None:
    write_warmup(save_examples(tmp_path / "1"), warmup_log(log))
    load = ModelLoader(SessionOptions(), WarmupOptions())

    with pytest.raises(ServingError) as failed:
        load("examples", 1, tmp_path / "1")

    assert text in str(failed.value)
