"""A local server in a process of its own, and tiny SavedModels that answer differently."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import tensorflow as tf
from google.protobuf import json_format, text_format
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)

ROOT = Path(__file__).parents[2]

DEADLINE_S = 60.0

SLOW_ROUNDS = 20_000
"""Rounds of the model of `save_slow` that take about a second."""


class _Line(tf.Module):
    def __init__(self, offset: float) -> None:
        super().__init__()
        self.scale = tf.Variable(0.5)
        self.offset = tf.Variable(offset)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def serve(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": self.scale * x + self.offset}


class _Many(tf.Module):
    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 3], tf.float32, name="a"),
            tf.TensorSpec([None], tf.int64, name="b"),
        ]
    )
    def serve(self, a: tf.Tensor, b: tf.Tensor) -> dict[str, tf.Tensor]:
        total = tf.reduce_sum(a, axis=1) + tf.cast(b, tf.float32)
        return {"total": total, "parity": b % 2 == 0, "name": tf.strings.as_string(b)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def lengths(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"length": tf.strings.length(text)}

    @tf.function(input_signature=[tf.TensorSpec(None, tf.float32, name="a")])
    def guarded(self, a: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"total": tf.reduce_sum(tf.ensure_shape(a, [None, 3]), axis=1)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def classify(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        parsed = tf.io.parse_example(inputs, {"x": tf.io.FixedLenFeature([], tf.float32)})
        names = tf.repeat([["low", "high"]], tf.shape(inputs)[0], axis=0)
        return {"classes": names, "scores": tf.stack([1.0 - parsed["x"], parsed["x"]], axis=1)}


class _Slow(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, name="rounds")])
    def serve(self, rounds: tf.Tensor) -> dict[str, tf.Tensor]:
        most = tf.reduce_max(rounds)
        square = tf.ones([64, 64]) / 64
        _, left = tf.while_loop(
            lambda done, _: done < most,
            lambda done, left: (done + 1, left @ square),
            [0, square],
            parallel_iterations=1,
        )
        return {"y": tf.fill(tf.shape(rounds), left[0, 0])}


class _Convolution(tf.Module):
    def __init__(self) -> None:
        super().__init__()
        self.kernel = tf.Variable(tf.ones([2, 2, 1, 1]))

    @tf.function(input_signature=[tf.TensorSpec([None, 4, 4, 1], tf.float32, name="image")])
    def serve(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.nn.relu(tf.nn.conv2d(image, self.kernel, 1, "VALID"))}

    @tf.function(input_signature=[tf.TensorSpec([None, 4, 4, 1], tf.float32, name="image")])
    def guarded(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        return self.serve(tf.ensure_shape(image, [None, 4, 4, 1]))


def save_line(folder: Path, offset: float) -> Path:
    """Y = x / 2 + offset: which version answered can be read from the answer."""
    module = _Line(offset)
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})
    return folder


def save_many(folder: Path) -> Path:
    module = _Many()
    signatures = {
        "serving_default": module.serve,
        "lengths": module.lengths,
        "guarded": module.guarded,
        "classify": module.classify,
    }
    tf.saved_model.save(module, str(folder), signatures=signatures)
    return folder


def save_slow(folder: Path) -> Path:
    """Takes the longer the larger its input is: SLOW_ROUNDS about a second."""
    module = _Slow()
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})
    return folder


def save_convolution(folder: Path) -> Path:
    module = _Convolution()
    signatures = {"serving_default": module.serve, "guarded": module.guarded}
    tf.saved_model.save(module, str(folder), signatures=signatures)
    return folder


def save_tf1(folder: Path) -> Path:
    """As TensorFlow 1 saved: a graph with placeholders, no functions."""
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        x = tf.compat.v1.placeholder(tf.float32, [None], name="x")
        y = tf.multiply(x, tf.compat.v1.Variable(10.0), name="y")
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.saved_model.simple_save(session, str(folder), {"x": x}, {"y": y})
    return folder


def add_warmup(folder: Path, request: str) -> None:
    """Writes one warm-up request, a PredictRequest in text form."""
    log = prediction_log_pb2.PredictionLog()
    text_format.Parse(request, log.predict_log.request)
    (folder / "assets.extra").mkdir()
    path = folder / "assets.extra" / "tf_serving_warmup_requests"
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(log.SerializeToString())


def x_request(values: tuple[float, ...] = (2.0, 4.0), spec: str = "") -> Any:
    request = predict_pb2.PredictRequest()
    text_format.Parse(f'name: "line" {spec}', request.model_spec)
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(list(values), tf.float32))
    return request


def line_config(versions: str, labels: dict[str, int] | None = None, more: str = "") -> str:
    pointed = " ".join(
        f'version_labels {{ key: "{label}" value: {version} }}'
        for label, version in (labels or {}).items()
    )
    return (
        'model_config_list { config { name: "line" base_path: "/models/line" '
        f'model_platform: "tensorflow" model_version_policy {{ {versions} }} {pointed} }} {more} }}'
    )


class RunningServer:
    """Asks a server over its real sockets."""

    def __init__(self, ports: dict[str, int], process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.ports = ports
        self._log = log
        self.channel = grpc.insecure_channel(f"127.0.0.1:{ports['grpc']}")
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.models = model_service_pb2_grpc.ModelServiceStub(self.channel)

    def log(self) -> str:
        return self._log.read_text()

    def ask(self, method: str, request: str) -> dict[str, Any]:
        """A request in text form → {"answer": …} or {"code": …, "text": …}."""
        call, kind = {
            "Predict": (self.prediction.Predict, predict_pb2.PredictRequest),
            "Classify": (self.prediction.Classify, classification_pb2.ClassificationRequest),
            "GetModelMetadata": (
                self.prediction.GetModelMetadata,
                get_model_metadata_pb2.GetModelMetadataRequest,
            ),
            "GetModelStatus": (
                self.models.GetModelStatus,
                get_model_status_pb2.GetModelStatusRequest,
            ),
        }[method]
        try:
            answer = call(text_format.Parse(request, kind()), timeout=20)
        except grpc.RpcError as error:
            return {"code": error.code().name, "text": error.details()}
        return {"answer": json_format.MessageToDict(answer, preserving_proto_field_name=True)}

    def line(self, spec: str = "", values: tuple[float, ...] = (2.0,)) -> list[float] | str:
        """The answer of model line, or the code of its refusal."""
        try:
            response = self.prediction.Predict(x_request(values, spec), timeout=20)
        except grpc.RpcError as error:
            return str(error.code().name)
        return list(response.outputs["y"].float_val)

    def states(self, model: str = "line") -> dict[int, str]:
        found = self.ask("GetModelStatus", f'model_spec {{ name: "{model}" }}')
        rows = found.get("answer", {}).get("model_version_status", [])
        return {int(row["version"]): row["state"] for row in rows}

    def rest(self, verb: str, path: str, body: str | None = None) -> tuple[int, str, str]:
        """(status, content type, body)."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.ports['rest']}{path}",
            data=None if body is None else body.encode(),
            method=verb,
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                return response.status, response.headers["Content-Type"], response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers["Content-Type"], error.read().decode()

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.channel.close()
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout=20)


def eventually(condition: Callable[[], bool], what: str, timeout_s: float = 20.0) -> None:
    """Waits until it holds, and fails loudly when it does not."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.02)


def environment() -> dict[str, str]:
    return {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}


@contextmanager
def running_server(
    folder: Path, *flags: str, config: str, program: tuple[str, ...] = ("-m", "serving.local")
) -> Iterator[RunningServer]:
    """Starts a server on free ports over folder/models.

    Args:
        folder: receives models.config, log and the port file; holds models/.
        flags: more flags.
        config: the text of models.config.
        program: what Python runs.
    """
    (folder / "models.config").write_text(config)
    log, port_file = folder / "server.log", folder / "ports.json"
    port_file.unlink(missing_ok=True)
    command = [sys.executable, *program, "--port=0", "--rest_api_port=0"]
    command.append(
        "--grpc_max_threads=128"
    )  # the default, 4 a core, refuses the ninth caller on two
    command += [f"--model_config_file={folder / 'models.config'}", f"--port_file={port_file}"]
    command += [f"--model_path_prefix_map=/models={folder / 'models'}", *flags]
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=out, stderr=out)
    try:
        eventually(lambda: port_file.exists() or process.poll() is not None, "ports", DEADLINE_S)
        assert process.poll() is None, log.read_text()
        server = RunningServer(json.loads(port_file.read_text()), process, log)
        yield server
        server.channel.close()
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
