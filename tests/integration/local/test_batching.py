"""Requests of different callers in one batch, over real sockets.

Each server takes a batch when it holds three rows, or else after a long time: three callers at once
are one batch, whatever the machine is doing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from tests.integration.local_server_fixtures import RunningServer, eventually, running_server

CONFIG = (
    'model_config_list { config { name: "batches" base_path: "/models/batches" '
    'model_platform: "tensorflow" } }'
)
LONG_MICROS = 60_000_000
METRICS = "/metrics"
SESSION = ":tensorflow:serving:batching_session:"


class _Batches(tf.Module):
    """Models that tell in which company a row was computed."""

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32, name="x")])
    def serve(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        count = tf.fill([tf.shape(x)[0]], tf.shape(x)[0])
        return {"sum": tf.reduce_sum(x, axis=1), "batch": count}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="numbers")])
    def parse(self, numbers: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"parsed": tf.strings.to_number(numbers)}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.float32, name="a"),
            tf.TensorSpec([None], tf.float32, name="b"),
        ]
    )
    def add(self, a: tf.Tensor, b: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"c": a + b}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def total(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"total": tf.reduce_sum(x)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def cut(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": x[:1]}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, name="rounds")])
    def slow(self, rounds: tf.Tensor) -> dict[str, tf.Tensor]:
        matrix = tf.eye(256)
        for _ in tf.range(rounds[0]):
            matrix = tf.linalg.matmul(matrix, matrix)
        return {"y": tf.cast(rounds, tf.float32) + matrix[0, 1]}


def save_batches(folder: Path) -> None:
    module = _Batches()
    names = ("parse", "add", "total", "cut", "slow")
    signatures = {"serving_default": module.serve, **{n: getattr(module, n) for n in names}}
    tf.saved_model.save(module, str(folder), signatures=signatures)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("batching")
    save_batches(folder / "models" / "batches" / "1")
    return folder


Start = Callable[..., Any]
"""(batching parameters, name of a folder, flags) → a `running_server`."""


@pytest.fixture(scope="module")
def start(store: Path) -> Start:
    def started(parameters: str, name: str, *flags: str) -> Any:
        folder = store / name
        folder.mkdir()
        (folder / "models").symlink_to(store / "models")
        (folder / "batching.config").write_text(parameters)
        monitoring = folder / "monitoring.config"
        monitoring.write_text(f'prometheus_config {{ enable: true path: "{METRICS}" }}')
        return running_server(
            folder,
            "--enable_batching=true",
            f"--batching_parameters_file={folder / 'batching.config'}",
            f"--monitoring_config_file={monitoring}",
            "--grpc_max_threads=64",
            *flags,
            config=CONFIG,
        )

    return started


@pytest.fixture(scope="module")
def server(start: Start) -> Iterator[RunningServer]:
    parameters = f"max_batch_size {{ value: 3 }} batch_timeout_micros {{ value: {LONG_MICROS} }}"
    with start(parameters, "three") as running:
        yield running


def request(signature: str = "", outputs: tuple[str, ...] = (), **inputs: Any) -> Any:
    sent = predict_pb2.PredictRequest()
    sent.model_spec.name = "batches"
    sent.model_spec.signature_name = signature
    sent.output_filter.extend(outputs)
    for alias, values in inputs.items():
        sent.inputs[alias].CopyFrom(tf.make_tensor_proto(values))
    return sent


def ask_all(server: RunningServer, *requests: Any, timeout_s: float = 20) -> list[Any]:
    """All at the same time; an answer is {alias: list}, a refusal (code, text)."""

    def ask(sent: Any) -> Any:
        try:
            answer = server.prediction.Predict(sent, timeout=timeout_s)
        except grpc.RpcError as error:
            return error.code().name, error.details()
        return {alias: tf.make_ndarray(found).tolist() for alias, found in answer.outputs.items()}

    with futures.ThreadPoolExecutor(len(requests)) as pool:
        return list(pool.map(ask, requests))


def metric(server: RunningServer, line: str) -> float:
    """The value of one line of the metrics page; 0 where it is not there."""
    _, _, page = server.rest("GET", METRICS)
    found = [text for text in page.splitlines() if text.startswith(f"{SESSION}{line} ")]
    return float(found[0].rsplit(" ", 1)[1]) if found else 0.0


def row(*values: float) -> Any:
    return np.array([values], np.float32)


def test_callers_share_a_batch_and_each_gets_its_own_rows(server: RunningServer) -> None:
    answers = ask_all(server, *(request(x=row(number, 1)) for number in (10, 20, 30)))
    assert answers == [{"sum": [number + 1], "batch": [3]} for number in (10, 20, 30)]


def test_requests_of_several_rows_share_too(server: RunningServer) -> None:
    two = request(x=np.array([[1, 2], [3, 4]], np.float32))
    answers = ask_all(server, two, request(x=row(5, 6)))
    assert answers == [{"sum": [3, 7], "batch": [3, 3]}, {"sum": [11], "batch": [3]}]


def test_signatures_and_output_filters_have_batches_of_their_own(server: RunningServer) -> None:
    filtered = [request(outputs=("batch",), x=row(1)) for _ in range(3)]
    whole = [request(x=row(1)) for _ in range(3)]
    strings = [request("parse", numbers=[b"7"]) for _ in range(3)]
    answers = ask_all(server, *filtered, *whole, *strings)
    assert answers == (
        [{"batch": [3]}] * 3 + [{"sum": [1], "batch": [3]}] * 3 + [{"parsed": [7]}] * 3
    )


def test_rest_callers_share_with_grpc_callers(server: RunningServer) -> None:
    with futures.ThreadPoolExecutor(1) as pool:
        rest = pool.submit(
            server.rest, "POST", "/v1/models/batches:predict", '{"instances": [[1, 2], [3, 4]]}'
        )
        answers = ask_all(server, request(x=row(5, 6)))
        status, _, body = rest.result()
    assert answers == [{"sum": [11], "batch": [3]}]
    assert status == 200
    assert [found["batch"] for found in json.loads(body)["predictions"]] == [3, 3]


def test_a_row_that_fails_fails_all_callers_of_its_batch(server: RunningServer) -> None:
    sent = [request("parse", numbers=[text]) for text in (b"1", b"no number", b"3")]
    answers = ask_all(server, *sent)
    assert [code for code, _ in answers] == ["INVALID_ARGUMENT"] * 3
    assert all("no number" in text for _, text in answers)
    again = ask_all(server, *(request("parse", numbers=[b"5"]) for _ in range(3)))
    assert again == [{"parsed": [5]}] * 3


def test_rows_of_different_shapes_fail_all_callers_of_their_batch(server: RunningServer) -> None:
    answers = ask_all(server, *(request(x=row(*range(size))) for size in (2, 3, 2)))
    assert [code for code, _ in answers] == ["FAILED_PRECONDITION"] * 3
    for _, text in answers:
        assert text.startswith("Tensors with name 'serving_default_x:0' from different tasks have ")
        assert text.endswith(
            "different shapes and padding is turned off. Set pad_variable_length_inputs to true, "
            "or ensure that all tensors with the same name have equal dimensions starting with the "
            "first dim."
        )


def test_another_dtype_fails_all_callers_of_its_batch(server: RunningServer) -> None:
    sent = [request(x=row(1)), request(x=np.array([[b"a"]], object)), request(x=row(3))]

    answers = ask_all(server, *sent)

    assert {code for code, _ in answers} == {"INTERNAL"}
    (text,) = {text for _, text in answers}
    assert text in (
        "Tensor concat operation failed: INVALID_ARGUMENT: Cannot concatenate tensors that have "
        f"different data types. Got {names}."
        for names in ("float and string", "string and float")
    )


def test_no_rows_alone_wait_for_others_or_until_their_caller_gives_up(
    server: RunningServer,
) -> None:
    none = request(x=np.zeros([0, 2], np.float32))
    given_up = ask_all(server, none, none, timeout_s=1)
    assert {code for code, _ in given_up} == {"DEADLINE_EXCEEDED"}

    arrived = "input_batch_size_count{}"
    before = metric(server, arrived)
    with futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ask_all, server, none)
        eventually(lambda: metric(server, arrived) == before + 1, "no rows have arrived")
        answers = ask_all(server, *(request(x=row(number, 1)) for number in (10, 20, 30)))
        assert waiting.result() == [{"sum": [], "batch": []}]
    assert answers == [{"sum": [number + 1], "batch": [3]} for number in (10, 20, 30)]


def test_no_rows_over_rest_leave_no_thread_behind(start: Start) -> None:
    parameters = "max_batch_size { value: 4 } batch_timeout_micros { value: 1000 }"
    flags = ("--rest_api_num_threads=2", "--rest_api_timeout_in_ms=500")
    with start(parameters, "no_rows", *flags) as server:
        body = '{"signature_name": "parse", "inputs": []}'
        for _ in range(4):
            assert server.rest("POST", "/v1/models/batches:predict", body)[0] == 504

        status, _, answer = server.rest(
            "POST", "/v1/models/batches:predict", '{"signature_name": "parse", "inputs": ["7"]}'
        )
        assert (status, json.loads(answer)) == (200, {"outputs": [7.0]})


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        (
            request(x=np.zeros([4, 1], np.float32)),
            "Task size 4 is larger than maximum input batch size 3",
        ),
        (
            request(x=np.float32(1)),
            "Batching Run() input tensors must have at least one dimension",
        ),
        (
            request("add", a=np.zeros(2, np.float32), b=np.zeros(1, np.float32)),
            "Batching Run() input tensors must have equal 0th-dimension size",
        ),
    ],
)
def test_what_cannot_be_batched_is_refused_at_once(
    server: RunningServer, sent: Any, text: str
) -> None:
    assert ask_all(server, sent) == [("INVALID_ARGUMENT", text)]


@pytest.mark.parametrize(
    ("signature", "text"),
    [
        ("total", "Batched output tensor has 0 dimensions"),
        (
            "cut",
            "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension "
            "sizes of the input tensors",
        ),
    ],
)
def test_outputs_that_cannot_be_taken_apart_are_refused(
    server: RunningServer, signature: str, text: str
) -> None:
    answers = ask_all(server, request(signature, x=np.ones(3, np.float32)))
    assert answers == [("FAILED_PRECONDITION", text)]


def test_an_open_batch_waits_no_longer_than_the_timeout(start: Start) -> None:
    parameters = "max_batch_size { value: 100 } batch_timeout_micros { value: 20000 }"
    with start(parameters, "timeout") as server:
        wrong = ask_all(server, request(x=np.array([[1]], np.int32)))
        assert wrong == [("INVALID_ARGUMENT", "Expects arg[0] to be float but int32 is provided")]
        answers = ask_all(server, request(x=row(1)), request(x=row(2)))
        assert [answer["sum"] for answer in answers] == [[1], [2]]
        assert {answer["batch"][0] for answer in answers} <= {1, 2}


def test_a_batch_is_filled_up_and_padded_as_the_parameters_say(start: Start) -> None:
    parameters = (
        "max_batch_size { value: 8 } allowed_batch_sizes: 4 allowed_batch_sizes: 8 "
        "batch_timeout_micros { value: 1000000 } pad_variable_length_inputs: true"
    )
    with start(parameters, "padding") as server:
        answers = ask_all(server, request(x=row(5, 1)), request(x=row(7, 1, 1)))
        # Filled up to four rows; the shorter row is filled up with its own first value.
        assert answers == [{"sum": [11], "batch": [4]}, {"sum": [9], "batch": [4]}]
        counted = {
            "input_batch_size_sum{}": 2,
            "input_batch_size_count{}": 2,
            "processed_batch_size_sum{}": 4,
            "processed_batch_size_count{}": 1,
            'padding_size_sum{execution_batch_size="4"}': 2,
            'padding_size_count{execution_batch_size="4"}': 1,
            'queuing_latency_count{thread_pool_name=""}': 2,
            "wrapped_run_count{}": 1,
        }
        assert {line: metric(server, line) for line in counted} == counted
        waited_us = metric(server, 'queuing_latency_sum{thread_pool_name=""}')
        assert 1_000_000 <= waited_us <= 60_000_000
        none = np.zeros([0, 2], np.float32)
        for _ in range(2):  # whichever comes last
            answers = ask_all(server, request(x=row(5, 1)), request(x=none))
            assert answers == [{"sum": [6], "batch": [4]}, {"sum": [], "batch": []}]


def test_a_large_request_is_computed_in_parts_where_that_is_on(start: Start) -> None:
    parameters = (
        "max_batch_size { value: 10 } max_execution_batch_size { value: 4 } "
        "enable_large_batch_splitting { value: true } batch_timeout_micros { value: 1000 }"
    )
    with start(parameters, "parts") as server:
        rows = np.arange(20, dtype=np.float32).reshape(10, 2)
        (answer,) = ask_all(server, request(x=rows))
        assert answer["sum"] == rows.sum(axis=1).tolist()
        assert max(answer["batch"]) <= 4
        refused = ask_all(server, request(x=np.zeros([11, 2], np.float32)))
        assert refused == [
            ("INVALID_ARGUMENT", "Task size 11 is larger than maximum input batch size 10")
        ]


def test_a_full_queue_is_unavailable_and_what_waits_is_answered(start: Start) -> None:
    parameters = (
        "max_batch_size { value: 1 } max_enqueued_batches { value: 2 } "
        "num_batch_threads { value: 1 }"
    )
    with start(parameters, "full") as server:
        slow = request("slow", rounds=np.array([1000], np.int32))
        quick = request("slow", rounds=np.array([1], np.int32))
        with futures.ThreadPoolExecutor(4) as pool:
            first = pool.submit(server.prediction.Predict, slow, timeout=60)
            taken = 'queuing_latency_count{thread_pool_name=""}'
            eventually(lambda: metric(server, taken) == 1, "the slow one computes")
            # Two wait; which of the rest are refused is known, which caller is not.
            rest: list[Any] = []
            while not any(isinstance(found, tuple) for found in rest) and not first.done():
                rest += ask_all(server, *([quick] * 6), timeout_s=60)
            first.result()
        refused = {found for found in rest if isinstance(found, tuple)}
        answered = [found for found in rest if isinstance(found, dict)]
        assert refused == {
            (
                "UNAVAILABLE",
                "The batch scheduling queue to which this task was submitted is full; currently 2 "
                "batches enqueued and max_enqueued_batches is 2",
            )
        }
        assert len(answered) >= 2


def test_a_version_comes_and_goes_with_its_queues(
    server: RunningServer, store: Path, tmp_path: Path
) -> None:
    second = store / "models" / "batches" / "2"
    aside = tmp_path / "2"
    save_batches(aside)
    aside.rename(second)
    eventually(lambda: server.states("batches").get(1) == "END", "version 1 has gone")
    answers = ask_all(server, *(request(x=row(number)) for number in (1, 2, 3)))
    assert [answer["sum"] for answer in answers] == [[1], [2], [3]]


def test_stopping_does_not_wait_for_callers_that_will_not_come(start: Start) -> None:
    parameters = f"max_batch_size {{ value: 3 }} batch_timeout_micros {{ value: {LONG_MICROS} }}"
    with start(parameters, "stopping") as server:
        with futures.ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(ask_all, server, request(x=row(1)))
            arrived = "input_batch_size_count{}"
            eventually(lambda: metric(server, arrived) == 1, "the request has arrived")
            server.process.terminate()
            assert waiting.result() == [{"sum": [1], "batch": [1]}]
        assert server.process.wait(timeout=20) == 0
