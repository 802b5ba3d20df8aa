"""Versions, labels and configuration of a running local server, and what must not end it."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from tests import tiny_models
from tests.integration.local_server_fixtures import (
    POLL_OFTEN,
    RunningServer,
    eventually,
    line_config,
    running_server,
    save_line,
)

FLAGS = (
    "--allow_version_labels_for_unavailable_models=true",
    "--max_num_load_retries=1",
    "--load_retry_interval_micros=100000",
    "--grpc_max_threads=16",
)

ONE = 'model_spec { name: "line" } inputs { key: "x" value { dtype: DT_FLOAT %s } }'


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Versions ready to be published: line/1 to line/4, the last one broken, and more models."""
    folder = tmp_path_factory.mktemp("exports")
    for version in (1, 2, 3):
        save_line(folder / "line" / str(version), float(version))
    shutil.copytree(folder / "line" / "1", folder / "line" / "4")
    shutil.rmtree(folder / "line" / "4" / "variables")
    save_line(folder / "line" / "5", 5.0)
    tiny_models.add_warmup(
        folder / "line" / "5", 'model_spec { name: "line" signature_name: "no" }'
    )
    convolution = tiny_models.Convolution()
    signatures = {"serving_default": convolution.serve, "guarded": convolution.guarded}
    tiny_models.save(convolution, folder / "convolution" / "1", **signatures)
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, exports: Path) -> Path:
    folder = tmp_path_factory.mktemp("life")
    shutil.copytree(exports / "line" / "1", folder / "models" / "line" / "1")
    shutil.copytree(exports / "convolution", folder / "models" / "convolution")
    return folder


OTHERS = (
    'config { name: "convolution" base_path: "/models/convolution" model_platform: "tensorflow" }'
)


@pytest.fixture(scope="module")
def module_server(store: Path) -> Iterator[RunningServer]:
    config = line_config("specific { versions: 1 }", {"stable": 1}, OTHERS)
    with running_server(store, *FLAGS, config=config, before=POLL_OFTEN) as running:
        yield running


@pytest.fixture
def server(module_server: RunningServer, store: Path) -> Iterator[RunningServer]:
    """The one server of this module, brought back to line version 1 after each test."""
    yield module_server
    assert module_server.process.poll() is None, module_server.log()
    configure(store, "specific { versions: 1 }", {"stable": 1})
    eventually(
        lambda: (
            available(module_server) == {1}
            and module_server.line('version_label: "stable"') == [2.0]
        ),
        "back at version 1",
    )
    for version in (store / "models" / "line").iterdir():
        if version.name != "1":
            shutil.rmtree(version)


def available(server: RunningServer) -> set[int]:
    return {version for version, state in server.states().items() if state == "AVAILABLE"}


def publish(exports: Path, store: Path, version: int) -> None:
    target = store / "models" / "line"
    shutil.copytree(exports / "line" / str(version), target / f".{version}")
    (target / f".{version}").rename(target / str(version))


def configure(store: Path, versions: str, labels: dict[str, int]) -> None:
    aside = store / "models.config.new"
    aside.write_text(line_config(versions, labels, OTHERS))
    aside.rename(store / "models.config")


def test_a_published_version_is_served_without_a_restart(
    server: RunningServer, store: Path, exports: Path
) -> None:
    configure(store, "all { }", {"stable": 1})
    publish(exports, store, 2)

    eventually(lambda: server.line() == [3.0], "version 2 answers")
    assert server.line('version_label: "stable"') == [2.0]
    assert available(server) == {1, 2}


def test_a_canary_comes_gets_its_label_and_is_promoted(
    server: RunningServer, store: Path, exports: Path
) -> None:
    publish(exports, store, 2)
    configure(store, "specific { versions: 1 versions: 2 }", {"stable": 1})
    eventually(lambda: server.states().get(2) == "AVAILABLE", "version 2 is available")
    configure(store, "specific { versions: 1 versions: 2 }", {"stable": 1, "canary": 2})
    eventually(lambda: server.line('version_label: "canary"') == [3.0], "canary answers")
    configure(store, "specific { versions: 1 versions: 2 }", {"stable": 2})
    eventually(lambda: server.line('version_label: "stable"') == [3.0], "stable moves")
    assert server.line('version_label: "canary"') == "INVALID_ARGUMENT"


def test_a_new_version_may_be_listed_together_with_its_label(
    server: RunningServer, store: Path, exports: Path
) -> None:
    publish(exports, store, 3)
    configure(store, "specific { versions: 1 versions: 3 }", {"stable": 1, "canary": 3})

    eventually(lambda: server.line('version_label: "canary"') == [4.0], "canary answers")


def test_moving_a_label_to_a_version_that_is_not_loaded_changes_nothing(
    server: RunningServer, store: Path, exports: Path
) -> None:
    seen = len(server.log())
    publish(exports, store, 2)
    configure(store, "specific { versions: 1 versions: 2 }", {"stable": 2})

    refusal = "Request to assign label to version 2"
    eventually(lambda: refusal in server.log()[seen:], "the refusal")
    assert "which is not currently available for inference" in server.log()[seen:]
    assert 2 not in available(server)
    assert server.line('version_label: "stable"') == [2.0]


def test_requests_never_fail_while_versions_replace_each_other(
    server: RunningServer, store: Path, exports: Path
) -> None:
    publish(exports, store, 2)
    stop = threading.Event()
    answers: list[list[float] | str] = []

    def ask() -> None:
        while not stop.is_set():
            answers.append(server.line())

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for version in (2, 1, 2):
            configure(store, f"specific {{ versions: {version} }}", {})
            old = 3 - version
            eventually(
                lambda new=version, old=old: (
                    available(server) == {new} and server.states()[old] == "END"
                ),
                f"version {version} alone",
            )
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert len(answers) > 50
    assert {str(answer) for answer in answers} == {"[2.0]", "[3.0]"}


@pytest.mark.parametrize(
    ("version", "reason"),
    [(4, "variables"), (5, 'Serving signature key "no" not found')],
    ids=["no variables", "warm-up fails"],
)
def test_a_version_that_cannot_be_loaded_fails_alone(
    server: RunningServer, store: Path, exports: Path, version: int, reason: str
) -> None:
    publish(exports, store, version)
    configure(store, f"specific {{ versions: 1 versions: {version} }}", {"stable": 1})

    eventually(lambda: server.states().get(version) == "END", "the load fails for good")
    found = server.ask(
        "GetModelStatus", f'model_spec {{ name: "line" version {{ value: {version} }} }}'
    )
    status = found["answer"]["model_version_status"][0]["status"]
    assert status["error_code"] not in ("", "OK")
    assert reason in status["error_message"]
    assert f"load 2 of 2 of line version {version} failed" in server.log()
    assert server.line() == [2.0]


@pytest.mark.parametrize(
    "text",
    [
        "model_config_list {",
        'model_config_list { config { name: "line" } }',
        "\x00\xff",
        "nonsense: 1",
    ],
)
def test_a_broken_config_file_changes_nothing_and_says_why(
    server: RunningServer, store: Path, text: str
) -> None:
    before = server.log().count("configuration not changed")
    (store / "models.config").write_text(text)

    eventually(
        lambda: server.log().count("configuration not changed") > before, "the refusal is logged"
    )
    assert server.line('version_label: "stable"') == [2.0]
    assert server.states()[1] == "AVAILABLE"


def test_a_missing_config_file_changes_nothing(server: RunningServer, store: Path) -> None:
    seen = len(server.log())
    (store / "models.config").unlink()

    eventually(lambda: "No such file" in server.log()[seen:], "the refusal is logged")
    assert server.line() == [2.0]


def test_dropping_a_version_unloads_it_and_keeps_its_row(
    server: RunningServer, store: Path, exports: Path
) -> None:
    publish(exports, store, 2)
    configure(store, "specific { versions: 1 versions: 2 }", {"stable": 1, "canary": 2})
    eventually(lambda: server.states().get(2) == "AVAILABLE", "version 2 is available")
    configure(store, "specific { versions: 1 }", {"stable": 1, "canary": 2})

    eventually(lambda: server.states().get(2) == "END", "version 2 is unloaded")
    assert server.line('version_label: "canary"') == "NOT_FOUND"


@pytest.mark.parametrize("rank", [0, 1, 2, 3, 5, 6])
@pytest.mark.parametrize("signature", ["serving_default", "guarded"])
def test_a_wrong_rank_into_a_convolution_is_refused_and_the_server_lives(
    server: RunningServer, rank: int, signature: str
) -> None:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "convolution"
    request.model_spec.signature_name = signature
    request.inputs["image"].CopyFrom(tf.make_tensor_proto(tf.ones([4, 4, 1, 1, 1, 1][:rank])))

    with pytest.raises(grpc.RpcError) as refused:
        server.prediction.Predict(request, timeout=20)

    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert server.line() == [2.0]
    if signature == "serving_default":
        assert "a rank that can end TensorFlow Serving" in server.log()


@pytest.mark.parametrize(
    "shape", [(1, 3, 4, 1), (1, 4, 4, 2), (1, 1, 1, 1), (0, 4, 4, 1), (1, 0, 0, 1), (1, 4, 4, 0)]
)
@pytest.mark.parametrize("signature", ["serving_default", "guarded"])
def test_wrong_sizes_into_a_convolution_leave_the_server_alive(
    server: RunningServer, shape: tuple[int, ...], signature: str
) -> None:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "convolution"
    request.model_spec.signature_name = signature
    request.inputs["image"].CopyFrom(tf.make_tensor_proto(tf.ones(shape)))

    try:
        server.prediction.Predict(request, timeout=20)
    except grpc.RpcError as error:
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT  # noqa: PT017 some are computed
    assert server.line() == [2.0]


def test_deep_json_is_refused_and_the_server_lives(server: RunningServer) -> None:
    status, _, _ = server.rest(
        "POST", "/v1/models/line:predict", '{"instances": ' + "[" * 100_000 + "]" * 100_000 + "}"
    )

    assert status == 400
    assert server.line() == [2.0]


def test_concurrent_callers_each_get_their_own_answer(server: RunningServer) -> None:
    with futures.ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda n: server.line(values=(float(n),)), range(400)))

    assert found == [[n / 2 + 1] for n in range(400)]


def test_a_large_tensor_goes_there_and_back(server: RunningServer) -> None:
    options = [("grpc.max_receive_message_length", -1)]
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "line"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(tf.zeros([3_000_000])))
    with grpc.insecure_channel(f"127.0.0.1:{server.ports['grpc']}", options=options) as channel:
        answer = channel.unary_unary(
            "/tensorflow.serving.PredictionService/Predict",
            request_serializer=predict_pb2.PredictRequest.SerializeToString,
            response_deserializer=predict_pb2.PredictResponse.FromString,
        )(request, timeout=30)

    assert len(answer.outputs["y"].float_val) == 3_000_000


def test_the_port_file_tells_the_ports_that_were_taken(server: RunningServer, store: Path) -> None:
    ports = json.loads((store / "ports.json").read_text())

    assert ports == server.ports
    assert f"grpc on port {ports['grpc']}, rest on port {ports['rest']}" in server.log()
