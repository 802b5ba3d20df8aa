"""The gRPC port: how many at a time, TLS, the Unix socket, health, gRPC's own options."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from concurrent import futures
from contextlib import AbstractContextManager
from pathlib import Path

import grpc
import pytest
import trustme
from google.protobuf import text_format
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tests import forked_server
from tests.forked_server import ForkedServer
from tests.integration.local_server_fixtures import (
    DEADLINE_S,
    ROOT,
    Gate,
    RunningServer,
    eventually,
    line_config,
    running_server,
    save_line_and_gate,
    x_request,
)
from tests.integration.tls_fixtures import ssl_config

CONFIG = line_config("latest { }", more=Gate.CONFIG)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_line_and_gate(tmp_path_factory.mktemp("grpc") / "models")


def serving(folder: Path, models: Path, *flags: str) -> AbstractContextManager[RunningServer]:
    (folder / "models").symlink_to(models)
    return running_server(folder, *flags, config=CONFIG)


def predict(channel: grpc.Channel) -> list[float] | str:
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    try:
        return list(stub.Predict(x_request((2.0,)), timeout=20).outputs["y"].float_val)
    except grpc.RpcError as error:
        return str(error.code().name)


@pytest.fixture(scope="module")
def narrow(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Two at a time, with the health service and a limit of gRPC's own."""
    folder = tmp_path_factory.mktemp("narrow")
    flags = (
        "--grpc_max_threads=2",
        Gate.FLAG,
        "--enable_grpc_healthcheck_service=true",
        "--grpc_channel_arguments=grpc.max_receive_message_length=100000,grpc.nonsense=x",
        f"--monitoring_config_file={ROOT / 'serving' / 'monitoring.config'}",
    )
    with serving(folder, models, *flags) as running:
        yield running


def test_a_request_too_many_is_refused_at_once(narrow: RunningServer, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    names = ("first", "second")
    with futures.ThreadPoolExecutor(2) as pool:
        working = [
            pool.submit(narrow.prediction.Predict, gate.request(name), timeout=60) for name in names
        ]
        gate.wait_until_begun(*names)
        refusals = Counter(
            str(narrow.ask("GetModelStatus", 'model_spec { name: "line" }')) for _ in range(20)
        )
        assert not any(future.done() for future in working)
        gate.let_go(*names)
        assert all(future.result() for future in working)

    assert refusals == {
        str({"code": "RESOURCE_EXHAUSTED", "text": "Server Threadpool Exhausted"}): 20
    }
    assert narrow.line() == [2.0]


@pytest.mark.parametrize("count", [100, 400])
@pytest.mark.parametrize(
    "path", ["/tensorflow.serving.PredictionService/Predict", "/grpc.health.v1.Health/Watch"]
)
def test_callers_who_send_nothing_take_no_place(
    narrow: RunningServer, path: str, count: int
) -> None:
    call = narrow.channel.stream_unary(
        path,
        request_serializer=predict_pb2.PredictRequest.SerializeToString,
    )
    silent = futures.Future[None]()

    def nothing() -> Iterator[predict_pb2.PredictRequest]:
        silent.result()
        yield from ()

    # More than there are threads: those that have waited for longest are ended.
    held = [call.future(nothing(), timeout=60) for _ in range(count)]
    try:
        time.sleep(0.5)
        assert narrow.line() == [2.0]
        assert sum(future.done() for future in held) <= max(0, count - 100)
    finally:
        silent.set_result(None)
        for future in held:
            future.cancel()


def test_a_caller_who_gives_up_frees_the_place(narrow: RunningServer, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    with pytest.raises(grpc.RpcError) as late:
        narrow.prediction.Predict(gate.request("late"), timeout=0.5)
    gate.let_go("late")

    assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    eventually(lambda: narrow.line() == [2.0], "the server is free again")


def test_grpcs_own_options_are_handed_on(narrow: RunningServer) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        narrow.prediction.Predict(x_request((1.0,) * 50_000), timeout=20)

    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max" in refused.value.details()


METHODS = [
    *(f"PredictionService/{name}" for name in ("Predict", "Classify", "Regress", "MultiInference")),
    "PredictionService/GetModelMetadata",
    "ModelService/GetModelStatus",
    "ModelService/HandleReloadConfigRequest",
]


def resident_bytes(server: RunningServer) -> int:
    fields = Path(f"/proc/{server.process.pid}/status").read_text().split()
    return 1024 * int(fields[fields.index("VmRSS:") + 1])


def test_what_is_no_message_is_refused_and_leaves_nothing_behind(narrow: RunningServer) -> None:
    paths = [
        *(f"/tensorflow.serving.{method}" for method in METHODS),
        "/grpc.health.v1.Health/Check",
    ]

    def send(number: int) -> tuple[str, str]:
        try:
            narrow.channel.unary_unary(paths[number % len(paths)])(b"\xff" * 50, timeout=20)
        except grpc.RpcError as error:
            return error.code().name, error.details()
        return "OK", ""

    warm = [send(number) for number in range(500)]
    before = resident_bytes(narrow)
    refused = [send(number) for number in range(2000)]

    assert set(warm + refused) == {("INTERNAL", "")}
    # grpcio's own way of parsing leaves 19 KB of each, 38 MB.
    assert resident_bytes(narrow) - before < 10_000_000
    assert "Traceback" not in narrow.log()
    assert "deserializ" not in narrow.log()


def test_a_watch_of_health_that_is_no_message_is_refused(narrow: RunningServer) -> None:
    call = narrow.channel.unary_stream("/grpc.health.v1.Health/Watch")

    with pytest.raises(grpc.RpcError) as refused:
        next(call(b"\xff" * 50, timeout=20))

    assert refused.value.code() is grpc.StatusCode.INTERNAL


def test_health_is_serving_for_the_server_and_unknown_for_a_model(narrow: RunningServer) -> None:
    stub = health_pb2_grpc.HealthStub(narrow.channel)

    assert stub.Check(health_pb2.HealthCheckRequest(), timeout=20).status == 1
    with pytest.raises(grpc.RpcError) as unknown:
        stub.Check(health_pb2.HealthCheckRequest(service="line"), timeout=20)
    assert unknown.value.code() is grpc.StatusCode.NOT_FOUND
    watches = [stub.Watch(health_pb2.HealthCheckRequest(), timeout=20) for _ in range(50)]
    assert {next(watch).status for watch in watches} == {1}
    assert narrow.line() == [2.0]
    for watch in watches:
        watch.cancel()


def test_without_the_flag_there_is_no_health_service_and_a_second_server_finds_no_port(
    models: Path, tmp_path: Path
) -> None:
    with serving(tmp_path, models) as running:
        stub = health_pb2_grpc.HealthStub(running.channel)
        with pytest.raises(grpc.RpcError) as refused:
            stub.Check(health_pb2.HealthCheckRequest(), timeout=20)
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED

        said = refusal(models, tmp_path / "second.log", f"--port={running.ports['grpc']}")

    assert f"Expected a free port. Received: --port={running.ports['grpc']}" in said


def start(models: Path, log: Path, *flags: str) -> ForkedServer:
    named = ["--model_name=line", f"--model_base_path={models / 'line'}"]
    return forked_server.start([*flags, *named], log)


def refusal(models: Path, log: Path, *flags: str) -> str:
    """What a server prints that cannot start."""
    assert start(models, log, *flags).wait(DEADLINE_S) == 255
    return log.read_text()


def test_a_unix_socket_serves_without_a_port(models: Path, tmp_path: Path) -> None:
    path, log = tmp_path / "grpc.sock", tmp_path / "log"
    process = start(models, log, "--port=0", f"--grpc_socket_path={path}")
    try:
        eventually(lambda: "listening" in log.read_text(), "it listens", DEADLINE_S)
        with grpc.insecure_channel(f"unix:{path}") as channel:
            assert predict(channel) == [2.0]
        assert "on port" not in log.read_text()
    finally:
        process.terminate()
        assert process.wait(timeout=20) == 0


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def secure(
    running: RunningServer, authority: trustme.CA, client: trustme.LeafCert | None = None
) -> list[float] | str:
    """What a caller gets who trusts this authority and shows this certificate."""
    credentials = grpc.ssl_channel_credentials(
        authority.cert_pem.bytes(),
        client.private_key_pem.bytes() if client else None,
        client.cert_chain_pems[0].bytes() if client else None,
    )
    with grpc.secure_channel(f"localhost:{running.ports['grpc']}", credentials) as channel:
        return predict(channel)


def test_with_tls_only_callers_who_speak_it_and_trust_the_server_are_answered(
    models: Path, tmp_path: Path, authority: trustme.CA
) -> None:
    with serving(tmp_path, models, ssl_config(tmp_path, authority)) as running:
        assert secure(running, authority) == [2.0]
        assert secure(running, trustme.CA()) == "UNAVAILABLE"
        assert running.line() == "UNAVAILABLE"
        assert running.rest("GET", "/v1/models/line")[0] == 200


def test_with_client_verify_only_callers_with_a_certificate_are_answered(
    models: Path, tmp_path: Path, authority: trustme.CA
) -> None:
    clients = trustme.CA()
    with serving(tmp_path, models, ssl_config(tmp_path, authority, clients)) as running:
        assert secure(running, authority, clients.issue_cert("me@x")) == [2.0]
        assert secure(running, authority, trustme.CA().issue_cert("me@x")) == "UNAVAILABLE"
        assert secure(running, authority) == "UNAVAILABLE"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"server_key": "nonsense"}, "Failed to BuildAndStart gRPC server"),
        ({"server_cert": ""}, "Failed to BuildAndStart gRPC server"),
        ({"nonsense": "x"}, "Invalid protobuf file: '"),
        (None, "No such file or directory"),
    ],
)
def test_an_ssl_config_that_cannot_be_used_keeps_the_server_from_starting(
    models: Path,
    tmp_path: Path,
    authority: trustme.CA,
    changed: dict[str, str] | None,
    said: str,
) -> None:
    flag = "--ssl_config_file=/no/such/file"
    if changed is not None:
        flag = ssl_config(tmp_path, authority, **changed)

    printed = refusal(
        models, tmp_path / "log", flag, "--port=0", f"--port_file={tmp_path / 'ports.json'}"
    )

    assert said in printed
    assert "Traceback" not in printed


def test_the_model_service_is_behind_the_same_port(narrow: RunningServer) -> None:
    stub = model_service_pb2_grpc.ModelServiceStub(narrow.channel)
    request = text_format.Parse(
        'model_spec { name: "line" }', get_model_status_pb2.GetModelStatusRequest()
    )

    assert stub.GetModelStatus(request, timeout=20).model_version_status[0].version == 1
