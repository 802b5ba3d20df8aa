"""A local server in a process of its own, and tiny SavedModels that answer differently."""

from __future__ import annotations

import json
import os
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
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
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tests import forked_server, tiny_models
from tests.forked_server import ForkedServer
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]

DEADLINE_S = 60.0

SLOW_ROUNDS = 20_000
"""Rounds of the model of `save_slow` that take about a second."""

POLL_OFTEN = """
import dataclasses
from serving.local import flags

parse = flags.parse
flags.parse = lambda *arguments: dataclasses.replace(
    parse(*arguments),
    model_config_file_poll_wait_seconds=0.05,
    file_system_poll_wait_seconds=0.05,
)
"""
"""For `running_server(before=…)`: looks at models.config and at the folders more often than flags,
which take whole seconds, can say."""

SLOW_CONFIG = 'config { name: "slow" base_path: "/models/slow" model_platform: "tensorflow" }'
"""For `line_config(more=…)`."""


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


class _Gate(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="path")])
    def serve(self, path: tf.Tensor) -> dict[str, tf.Tensor]:
        tf.io.write_file(path[0] + ".begun", "")

        def look(looks: tf.Tensor, _: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            # What depends on the number of looks is not moved out of the loop.
            ending = tf.where(looks < 0, "", ".open")
            return looks + 1, tf.size(tf.io.matching_files(path[0] + ending))

        _, found = tf.while_loop(
            lambda _, found: found == 0,
            look,
            (tf.constant(0, tf.int64), tf.constant(0)),
            parallel_iterations=1,
        )
        return {"y": tf.fill(tf.shape(path), found)}


class Gate:
    """Requests to model `gate`, which are worked on until they are let go.

    A test knows by it which requests are in flight, however busy the machine is.
    """

    CONFIG = 'config { name: "gate" base_path: "/models/gate" model_platform: "tensorflow" }'
    """For `line_config(more=…)`."""

    FLAG = "--tensorflow_inter_op_parallelism=8"
    """Each held request keeps a thread of TensorFlow's; without the flag there is one a core."""

    def __init__(self, folder: Path) -> None:
        """Makes a gate; its files lie in `folder`."""
        self._folder = folder

    def path(self, name: str) -> str:
        """What a request sends as its `path`."""
        return str(self._folder / name)

    def request(self, name: str) -> Any:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "gate"
        request.inputs["path"].CopyFrom(tf.make_tensor_proto([self.path(name)]))
        return request

    def has_begun(self, name: str) -> bool:
        return (self._folder / f"{name}.begun").exists()

    def wait_until_begun(self, *names: str) -> None:
        for name in names:
            eventually(lambda name=name: self.has_begun(name), f"request {name} is worked on")

    def let_go(self, *names: str) -> None:
        for name in names:
            (self._folder / f"{name}.open").touch()


def save_line(folder: Path, offset: float) -> Path:
    """Computes y = x / 2 + offset: the answer shows which version gave it."""
    module = tiny_models.Affine(offset)
    return tiny_models.save(module, folder, serving_default=module.serve)


def save_slow(folder: Path) -> Path:
    """Takes the longer the larger its input is: SLOW_ROUNDS about a second."""
    module = _Slow()
    return tiny_models.save(module, folder, serving_default=module.serve)


def save_line_and_gate(models: Path) -> Path:
    """Version 1 of `line` and of `gate` below a folder, see `Gate`."""
    save_line(models / "line" / "1", 1.0)
    module = _Gate()
    tiny_models.save(module, models / "gate" / "1", serving_default=module.serve)
    return models


def save_line_and_slow(models: Path) -> Path:
    """Version 1 of `line` and of `slow` below a folder, see `SLOW_CONFIG`."""
    save_line(models / "line" / "1", 1.0)
    save_slow(models / "slow" / "1")
    return models


def slow_request(rounds: int) -> Any:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "slow"
    request.inputs["rounds"].CopyFrom(tf.make_tensor_proto([rounds], tf.int32))
    return request


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

    def __init__(self, ports: dict[str, int], process: ForkedServer, log: Path) -> None:
        self.process = process
        self.ports = ports
        self.folder = log.parent
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

    def reload(self, config: str) -> None:
        """Serves what the text of a models.config says."""
        request = model_management_pb2.ReloadConfigRequest()
        text_format.Parse(config, request.config)
        status = self.models.HandleReloadConfigRequest(request, timeout=20).status
        assert not status.error_code, status.error_message

    def wait_loaded(self, *versions: int, model: str = "line") -> None:
        """Waits until all of them are available."""

        def loaded() -> bool:
            states = self.states(model)
            return all(states.get(version) == "AVAILABLE" for version in versions)

        eventually(loaded, f"versions {versions} of {model}")

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


def environment() -> dict[str, str]:
    return {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}


@contextmanager
def running_server(
    folder: Path, *flags: str, config: str, before: str = ""
) -> Iterator[RunningServer]:
    """Starts a server on free ports over folder/models.

    Args:
        folder: receives models.config, log and the port file; holds models/.
        flags: more flags.
        config: the text of models.config.
        before: Python code that runs in its process first.
    """
    (folder / "models.config").write_text(config)
    log, port_file = folder / "server.log", folder / "ports.json"
    port_file.unlink(missing_ok=True)
    own = [
        "--port=0",
        "--rest_api_port=0",
        "--grpc_max_threads=128",  # the default, 4 a core, refuses the ninth caller on two
        f"--model_config_file={folder / 'models.config'}",
        f"--port_file={port_file}",
        f"--model_path_prefix_map=/models={folder / 'models'}",
    ]
    process = forked_server.start([*own, *flags], log, before)
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
