"""The calls of a client, their answers, and the error of each failure."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

import grpc
import numpy as np
import pytest

import tfs_client
from tfs_client import (
    AnswerError,
    CallError,
    ClassScore,
    Client,
    DeadlineExceededError,
    InputNameError,
    InvalidRequestError,
    LabelNotFoundError,
    MessageTooLargeError,
    NotFoundError,
    NotServedError,
    OverloadedError,
    RequestError,
    TensorSpec,
    UnavailableError,
)
from tfs_client.failures import codes
from tfs_client.testing import example_picture
from tfs_client.wire import serving_pb2 as pb

from .model_server import ModelServer


def refuse(code: grpc.StatusCode, text: str = "no"):
    return lambda request, context: context.abort(code, text)


def test_predict_returns_the_outputs_and_the_version_that_answered(client):
    sent = {"x": np.float32([[1, 2]]), "words": [b"a\0", b""]}
    prediction = client.predict(sent, model="echo", label="stable", signature="echoing")
    np.testing.assert_array_equal(prediction["x"], sent["x"])
    assert prediction["words"].tolist() == sent["words"]
    assert sorted(prediction.outputs) == ["words", "x"]
    assert (prediction.model, prediction.version) == ("echo", 1)
    assert prediction.signature == "echoing"
    assert 0 < prediction.latency_s < 5


@pytest.mark.parametrize(
    ("choice", "version"),
    [({"label": "stable"}, 1), ({"label": "canary"}, 2), ({"version": 1}, 1), ({}, 2)],
)
def test_a_label_a_version_or_the_latest_answers(client, choice, version):
    assert client.predict({"x": 1}, model="echo", **choice).version == version


def test_a_signature_without_inputs_is_asked_with_none(server, client):
    for _ in range(2):
        assert client.predict({}, model="echo", signature="constant").version == 2
    with pytest.raises(InputNameError, match=r"Expected the inputs \{\} .* unknown: \['x'\]"):
        client.predict({"x": 1}, model="echo", signature="constant")
    with pytest.raises(InputNameError, match=r"Expected the inputs .* missing: \['a', 'b'\]"):
        client.predict({}, model="echo", signature="pair")
    assert len(server.asked("Predict")) == 2


def test_only_the_outputs_asked_for_are_sent_back(client):
    pair = {"a": [1], "b": [2]}
    answer = client.predict(pair, model="echo", signature="pair", outputs=["b"])
    assert list(answer.outputs) == ["b"]


def test_an_answer_above_grpcs_own_4_mb_arrives(client):
    large = np.zeros(6_000_000, np.uint8)
    assert client.predict({"x": large}, model="echo", signature="bytes")["x"].nbytes == 6_000_000


def test_a_message_above_the_limit_says_which_limit_to_raise(server):
    with (
        Client(server.target, max_message_bytes=1000) as client,
        pytest.raises(MessageTooLargeError, match="max_message_bytes") as caught,
    ):
        client.predict({"x": np.zeros(2000, np.float32)}, model="echo")
    assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_the_answer_of_another_model_is_refused_by_every_call_that_asks_one(
    server, client, open_client
):
    for call in ("Predict", "Classify", "Regress", "GetModelMetadata"):
        honest = server.usual(call)

        def of_another(request, context, honest=honest):
            response = honest(request, context)
            response.model_spec.name = "another"
            return response

        server.handlers[call] = of_another
    unchecked = open_client(server.target, check_inputs=False)
    asked = {"model": "image_classifier", "label": "stable"}
    calls = (
        lambda: unchecked.predict({"image_bytes": [b""]}, **asked),
        lambda: client.classify([{"x": 1.0}], **asked),
        lambda: client.regress([{"x": 1.0}], model="echo", label="stable"),
        lambda: client.metadata(**asked),
    )
    for call in calls:
        with pytest.raises(AnswerError, match=r"of \w+/labels/stable\. .* of another"):
            call()


def test_classify_returns_labels_with_scores(server, client):
    cell = example_picture()
    client.classify([{"image/encoded": of(cell)} for of in (bytes, bytearray, memoryview)])
    sent = server.requests[-1].message.input.example_list.examples
    assert {one.features.feature["image/encoded"].bytes_list.value[0] for one in sent} == {cell}
    two = [{"image/encoded": cell}, {"image/encoded": cell, "n": [1, 2], "f": 0.5}]
    answer = client.classify(two, label="canary")
    assert answer.results[1] == (
        ClassScore(label="sound", score=pytest.approx(0.8)),
        ClassScore(label="defective", score=pytest.approx(0.2)),
    )
    assert (len(answer.results), answer.version) == (2, 2)
    features = server.requests[-1].message.input.example_list.examples[1].features.feature
    assert list(features["n"].int64_list.value) == [1, 2]
    assert list(features["f"].float_list.value) == [0.5]


def test_metadata_is_typed_and_leaves_the_initialiser_out(client):
    metadata = client.metadata(label="canary")
    assert metadata.version == 2
    assert sorted(metadata.signatures) == ["classify", "predict_images", "serving_default"]
    signature = metadata.signatures["predict_images"]
    assert signature.inputs == {"images": TensorSpec(dtype="uint8", shape=(None, 48, 32, 3))}
    assert signature.method == "tensorflow/serving/predict"


def test_status_lists_the_versions_in_order(server, client):
    assert [(row.version, row.state, row.code) for row in client.status()] == [
        (1, "AVAILABLE", "OK"),
        (2, "AVAILABLE", "OK"),
    ]
    failed = pb.GetModelStatusResponse()
    failed.model_version_status.add(version=3, state="END").status.error_code = 9
    server.handlers["GetModelStatus"] = lambda request, context: failed
    (row,) = client.status()
    assert (row.code, row.available) == ("FAILED_PRECONDITION", False)


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code.name != "OK"])
def test_every_grpc_code_has_its_class_and_keeps_code_and_details(server, client, code):
    server.handlers["Predict"] = refuse(code, "the server's words")
    with pytest.raises(CallError) as caught:
        client.predict({"x": 1}, model="echo")
    assert type(caught.value) is codes.BY_CODE[code].kind
    assert caught.value.code is code
    assert caught.value.details == "the server's words"
    assert caught.value.target == server.target
    assert isinstance(caught.value.__cause__, grpc.RpcError)
    assert "the server's words" in str(caught.value)
    assert server.target in str(caught.value)


def test_a_full_queue_is_not_taken_for_a_dead_server(server, client):
    text = "The batch scheduling queue to which this task was submitted is full; currently 10"
    server.handlers["Predict"] = refuse(grpc.StatusCode.UNAVAILABLE, text)
    with pytest.raises(OverloadedError):
        client.predict({"x": 1}, model="echo")


def test_unknown_models_and_labels_are_told_apart(client):
    with pytest.raises(NotFoundError, match=r"Latest\(nope\)"):
        client.predict({"x": 1}, model="nope")
    with pytest.raises(InvalidRequestError, match="Unrecognized servable version label: nope"):
        client.predict({"x": 1}, label="nope")


def test_a_misspelt_model_is_named_where_a_server_speaks_of_its_label(server, client):
    """TensorFlow Serving looks the label up first: it says the same of a model that it lacks."""
    server.handlers["GetModelMetadata"] = refuse(
        grpc.StatusCode.INVALID_ARGUMENT, "Unrecognized servable version label: stable"
    )
    words = r"no label 'stable' of model 'imgae_classifier', or no such model: compare both names"
    with pytest.raises(LabelNotFoundError, match=words):
        client.metadata(model="imgae_classifier", label="stable")


def test_a_reload_at_its_deadline_says_what_a_server_waits_for(server, client):
    release = threading.Event()
    server.handlers["HandleReloadConfigRequest"] = lambda request, context: release.wait(20)
    config = 'model_config_list { config { name: "new" base_path: "/missing" } }'
    with pytest.raises(DeadlineExceededError, match=r"base_path is missing .* does not look"):
        client.reload(config, timeout_s=0.2)
    release.set()


def test_a_slow_server_costs_the_deadline_and_no_more(server):
    server.returns({"x": 1}, delay_s=10)
    start = time.monotonic()
    with (
        Client(server.target, timeout_s=10) as client,
        pytest.raises(DeadlineExceededError, match=r"within 0\.2 s"),
    ):
        client.predict({"x": 1}, model="echo", timeout_s=0.2)
    assert 0.1 < time.monotonic() - start < 2


def test_a_dead_address_says_what_to_do(free_port):
    with (
        Client(f"127.0.0.1:{free_port}", timeout_s=2) as client,
        pytest.raises(
            UnavailableError,
            match=r"No server answered GetModelMetadata at .* start a server there",
        ),
    ):
        client.predict({"x": 1}, model="echo")


def test_a_name_that_does_not_resolve_is_unavailable():
    with Client("no-such-host.invalid:8500", timeout_s=2) as client, pytest.raises(CallError) as at:
        client.predict({"x": 1}, model="echo")
    assert isinstance(at.value, UnavailableError | DeadlineExceededError)
    assert "no-such-host.invalid:8500" in str(at.value)


def test_a_listener_that_drops_connections_is_an_error_of_ours():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def drop():
            with contextlib.suppress(OSError):  # the listener's end
                while True:
                    listener.accept()[0].close()

        thread = threading.Thread(target=drop)
        thread.start()
        with (
            Client(f"127.0.0.1:{listener.getsockname()[1]}", timeout_s=2) as client,
            pytest.raises(UnavailableError),
        ):
            client.predict({"x": 1}, model="echo")
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def test_a_server_that_stops_in_the_middle_of_a_call_is_an_error_of_ours(server):
    reached, release = threading.Event(), threading.Event()

    def hang(request, context):
        reached.set()
        release.wait(10)
        return pb.PredictResponse()

    server.handlers["Predict"] = hang
    caught = []

    def call():
        with Client(server.target, timeout_s=8) as client:
            try:
                client.predict({"x": 1}, model="echo")
            except tfs_client.TfsError as error:
                caught.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    assert reached.wait(5)
    server.stop()
    thread.join()
    release.set()
    (error,) = caught
    assert isinstance(error, tfs_client.CancelledError | UnavailableError)


def test_a_client_finds_a_server_that_came_back(server):
    with Client(server.target, timeout_s=5) as client:
        client.predict({"x": 1}, model="echo")
        server.stop()
        with pytest.raises(UnavailableError):
            client.predict({"x": 1}, model="echo")
        again = ModelServer(port=server.port)
        try:
            assert client.wait_ready(label="stable", timeout_s=8).version == 1
            assert client.predict({"x": 1}, model="echo").version == 2
        finally:
            again.stop()


def test_another_grpc_server_is_recognised():
    from concurrent import futures

    other = grpc.server(futures.ThreadPoolExecutor(1))
    port = other.add_insecure_port("127.0.0.1:0")
    other.start()
    with Client(f"127.0.0.1:{port}") as client, pytest.raises(NotServedError, match="gRPC port"):
        client.predict({"x": 1}, model="echo")
    other.stop(None).wait()


@pytest.mark.parametrize("call", ["Predict", "Classify", "GetModelMetadata", "GetModelStatus"])
def test_bytes_that_are_no_answer_are_an_error_of_ours(server, client, call):
    server.handlers[call] = lambda request, context: b"\xff\xff not a message"
    asked = {
        "Predict": lambda: client.predict({"x": 1}, model="echo"),
        "Classify": lambda: client.classify([{"x": 1}]),
        "GetModelMetadata": client.metadata,
        "GetModelStatus": client.status,
    }[call]
    with pytest.raises(AnswerError, match="Expected a "):
        asked()


def test_a_tensor_that_lies_names_its_output(server, client):
    def lie(request, context):
        response = pb.PredictResponse()
        response.outputs["score"].dtype = pb.DT_FLOAT
        response.outputs["score"].tensor_shape.dim.add(size=3)
        response.outputs["score"].tensor_content = b"1234"
        return response

    server.handlers["Predict"] = lie
    with pytest.raises(AnswerError, match="output 'score'"):
        client.predict({"x": 1}, model="echo")


def test_metadata_without_signatures_is_an_error_of_ours(server, client):
    server.handlers["GetModelMetadata"] = lambda request, context: pb.GetModelMetadataResponse()
    with pytest.raises(AnswerError, match="signature_def"):
        client.metadata()


@pytest.mark.parametrize(
    "wrong",
    [
        {"inputs": []},
        {"inputs": np.zeros(1)},
        {"label": "stable", "version": 1},
        {"label": ""},
        {"version": "1"},
        {"version": True},
        {"model": ""},
        {"outputs": "y"},
        {"timeout_s": 0},
        {"timeout_s": -1},
        {"timeout_s": float("inf")},
        {"timeout_s": float("nan")},
        {"timeout_s": "5"},
    ],
    ids=str,
)
def test_a_callers_mistake_is_found_before_anything_is_sent(server, client, wrong):
    with pytest.raises(RequestError, match=r"Expected .* Received: "):
        client.predict(**{"inputs": {"x": 1}, **wrong})
    assert server.requests == ()


@pytest.mark.parametrize(
    "target", ["", "localhost", "localhost:", "localhost:0", "localhost:99999", "http://a:1", None]
)
def test_a_target_without_a_port_is_refused(target):
    with pytest.raises(RequestError, match="host:port"):
        Client(target)


@pytest.mark.parametrize("name", ["127.0.0.1:{}", "dns:///localhost:{}", "ipv4:127.0.0.1:{}"])
def test_every_way_to_write_an_address_works(server, name):
    with Client(name.format(server.port), timeout_s=5) as client:
        assert client.predict({"x": 1}, model="echo").version == 2


def test_a_closed_client_says_so(server):
    client = Client(server.target)
    client.close()
    client.close()
    with pytest.raises(RequestError, match="closed"):
        client.predict({"x": 1}, model="echo")


def test_one_client_serves_many_threads(client):
    answers: dict[int, float] = {}

    def ask(number: int) -> None:
        for _ in range(20):
            answers[number] = float(client.predict({"x": float(number)}, model="echo")["x"])

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {number: float(number) for number in range(8)}


def test_wait_ready_waits_for_the_label_and_not_for_the_port(server, client):
    del server.labels["canary"]
    timer = threading.Timer(0.5, lambda: server.labels.update(canary=2))
    timer.start()
    start = time.monotonic()
    assert client.wait_ready("canary", timeout_s=5).version == 2
    assert time.monotonic() - start > 0.4
    timer.join()


def test_wait_ready_gives_the_reason_when_the_time_is_up(client):
    with pytest.raises(NotFoundError, match=r"Specific\(image_classifier, 9\)"):
        client.wait_ready(version=9, timeout_s=0.5)


def test_wait_ready_on_nothing_says_how_long_it_waited(free_port):
    with (
        Client(f"127.0.0.1:{free_port}") as client,
        pytest.raises(UnavailableError, match=r"within 0\.5 s"),
    ):
        client.wait_ready("stable", timeout_s=0.5)
