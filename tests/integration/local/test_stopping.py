"""What callers see of SIGTERM: answers, UNAVAILABLE, and an end in time."""

from __future__ import annotations

import http.client
import json
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_service_pb2_grpc

from tests.integration.local_server_fixtures import (
    Gate,
    RunningServer,
    eventually,
    line_config,
    running_server,
    save_line_and_gate,
    x_request,
)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_line_and_gate(tmp_path_factory.mktemp("stopping") / "models")


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path)


@pytest.fixture
def start(models: Path, tmp_path: Path) -> Iterator[Callable[..., RunningServer]]:
    (tmp_path / "models").symlink_to(models)
    started = []

    def start(*flags: str) -> RunningServer:
        context = running_server(
            tmp_path, *flags, config=line_config("latest { }", more=Gate.CONFIG)
        )
        started.append(context)
        return context.__enter__()

    yield start
    for context in started:
        context.__exit__(None, None, None)


class Callers:
    """Threads that ask again and again until they are told to stop, each on a way of its own."""

    def __init__(self, ask: Callable[[], Callable[[], str]], count: int) -> None:
        self.seen: Counter[str] = Counter()
        self._end = threading.Event()
        self._pool = futures.ThreadPoolExecutor(count)
        self._asking = [self._pool.submit(self._ask, ask()) for _ in range(count)]

    def _ask(self, ask: Callable[[], str]) -> None:
        while not self._end.is_set():
            self.seen[ask()] += 1

    def stop(self) -> None:
        self._end.set()
        for asking in self._asking:
            asking.result(timeout=30)
        self._pool.shutdown()


def over_grpc(running: RunningServer) -> Callable[[], str]:
    # Channels share a connection unless they are told not to.
    options = [("grpc.use_local_subchannel_pool", 1)]
    channel = grpc.insecure_channel(f"127.0.0.1:{running.ports['grpc']}", options=options)
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

    def ask() -> str:
        try:
            stub.Predict(x_request((2.0,)), timeout=20)
        except grpc.RpcError as error:
            return str(error.code().name)
        return "OK"

    return ask


def over_rest(running: RunningServer) -> Callable[[], str]:
    connection = http.client.HTTPConnection("127.0.0.1", running.ports["rest"], timeout=20)

    def ask() -> str:
        try:
            connection.request("POST", "/v1/models/line:predict", '{"instances": [1.0]}')
            response = connection.getresponse()
            response.read()
        except OSError as error:
            connection.close()
            return type(error).__name__
        return str(response.status)

    return ask


def test_callers_on_a_loop_see_answers_and_unavailable_and_nothing_else(
    start: Callable[..., RunningServer],
) -> None:
    running = start()
    grpc_callers = Callers(lambda: over_grpc(running), 16)
    rest_callers = Callers(lambda: over_rest(running), 4)
    eventually(lambda: grpc_callers.seen["OK"] > 100 and rest_callers.seen["200"] > 20, "load")

    running.process.terminate()

    assert running.process.wait(timeout=20) == 0
    time.sleep(0.2)  # so that some find nobody
    grpc_callers.stop()
    rest_callers.stop()
    assert set(grpc_callers.seen) == {"OK", "UNAVAILABLE"}
    gone = {
        "BrokenPipeError",
        "ConnectionRefusedError",
        "ConnectionResetError",
        "RemoteDisconnected",
    }
    assert set(rest_callers.seen) <= {"200", "503"} | gone
    assert "503" in rest_callers.seen or gone & set(rest_callers.seen)
    assert "Traceback" not in running.log()


def test_requests_in_flight_are_answered_and_new_ones_refused_meanwhile(
    start: Callable[..., RunningServer], gate: Gate
) -> None:
    running = start("--stop_grace_seconds=60", "--enable_grpc_healthcheck_service", Gate.FLAG)
    body = json.dumps({"instances": [gate.path("rest")]})
    with futures.ThreadPoolExecutor(2) as pool:
        by_grpc = pool.submit(running.prediction.Predict, gate.request("grpc"), timeout=60)
        by_rest = pool.submit(running.rest, "POST", "/v1/models/gate:predict", body)
        gate.wait_until_begun("grpc", "rest")
        running.process.terminate()
        eventually(lambda: running.line() == "UNAVAILABLE", "new requests are refused")

        assert "stopping: SIGTERM" in running.log()
        assert running.ask("GetModelStatus", 'model_spec { name: "line" }') == {
            "code": "UNAVAILABLE",
            "text": "Server is shutting down",
        }
        status, _, text = running.rest("GET", "/v1/models/line")
        assert (status, json.loads(text)) == (503, {"error": "Server is shutting down"})
        assert not by_grpc.done()
        assert not by_rest.done()

        gate.let_go("grpc", "rest")
        assert by_grpc.result().outputs["y"].int_val == [1]
        assert by_rest.result()[0] == 200
    assert running.process.wait(timeout=10) == 0


def test_a_large_answer_still_arrives_whole(start: Callable[..., RunningServer]) -> None:
    running = start("--stop_grace_seconds=30")
    count = 4_000_000
    request = x_request((2.0,))
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.zeros(count, np.float32)))
    options = [("grpc.max_receive_message_length", -1)]
    address = f"127.0.0.1:{running.ports['grpc']}"
    with grpc.insecure_channel(address, options=options) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        stub.Predict(request, timeout=60)
        asked = stub.Predict.future(request, timeout=60)
        time.sleep(0.05)
        running.process.terminate()
        try:
            assert len(asked.result().outputs["y"].float_val) == count
        except grpc.RpcError as error:  # it had not been let in before the signal
            assert error.code() is grpc.StatusCode.UNAVAILABLE  # noqa: PT017
    assert running.process.wait(timeout=40) == 0


def ask_gate(running: RunningServer, gate: Gate) -> str:
    try:
        running.prediction.Predict(gate.request("held"), timeout=60)
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


def test_the_grace_time_is_the_longest_it_takes(
    start: Callable[..., RunningServer], gate: Gate
) -> None:
    running = start("--stop_grace_seconds=1")
    with futures.ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask_gate, running, gate)
        gate.wait_until_begun("held")

        started = time.monotonic()
        running.process.terminate()

        assert running.process.wait(timeout=20) == 0
        assert time.monotonic() - started > 0.9
        assert asked.result() == "UNAVAILABLE"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_at_once(
    start: Callable[..., RunningServer], gate: Gate, number: signal.Signals
) -> None:
    running = start("--stop_grace_seconds=60")
    with futures.ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask_gate, running, gate)
        gate.wait_until_begun("held")
        running.process.send_signal(number)
        eventually(lambda: f"stopping: {number.name}" in running.log(), "the signal is seen")
        running.process.send_signal(number)

        # Long before the grace time of a minute is over.
        assert running.process.wait(timeout=20) == 128 + number
        assert asked.result() == "UNAVAILABLE"


def test_without_callers_it_ends_promptly_and_frees_its_ports(
    start: Callable[..., RunningServer],
) -> None:
    running = start("--stop_grace_seconds=60")
    running.process.terminate()

    assert running.process.wait(timeout=20) == 0  # long before the grace time is over
    assert "stopped" in running.log()
    for port in running.ports.values():
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        with pytest.raises(ConnectionRefusedError):
            connection.connect()
