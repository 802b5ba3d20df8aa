"""A light server of model `line`, in this process: version N answers x / 2 + N, as the real one.

It takes a configuration at once and loads what lies in its store, so that a test of the rollout's
own work does not wait for TensorFlow. It does not show how versions load or fail to.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from google.protobuf import text_format

from serving import models_config
from serving.models_config import Model, ModelsConfig, Specific
from tfs_client import Client
from tfs_client.errors import CallError
from tfs_client.testing import FakeModel, FakeServer, Request
from tfs_client.wire import serving_pb2 as pb


def config(*versions: int, labels: Mapping[str, int] | None = None) -> str:
    """A models.config that serves these versions of `line`."""
    model = Model(
        name="line", base_path="/models/line", policy=Specific(versions), labels=labels or {}
    )
    return models_config.render(ModelsConfig(models=(model,)))


class Line(FakeModel):
    """Computes what the real model does; nothing of it is loaded yet."""

    def __init__(self) -> None:
        tensors = {"inputs": {"x": "float32 [N]"}, "outputs": {"y": "float32 [N]"}}
        super().__init__("line", versions=(), labels={}, **tensors)

    def answer(self, request: Request) -> Mapping[str, Any]:
        """Half of x, and the version."""
        return {"y": request.inputs["x"] / np.float32(2) + np.float32(request.answered_version)}


class LineServer:
    """Serves from construction until stop().

    Args:
        store: versions that can be loaded.
        config: text of the models.config to begin with.
        credentials: for TLS.
        fatal: versions that end the server when it is to load them.

    Attributes:
        others: names of other models that are loaded. As TensorFlow Serving does, it keeps the
            caller of a configuration waiting that lists one more.
    """

    def __init__(
        self,
        store: Iterable[int],
        config: str,
        credentials: grpc.ServerCredentials | None = None,
        fatal: Iterable[int] = (),
    ):
        self._fatal = set(fatal)
        self.others: set[str] = set()
        self._others_there: set[str] = set()
        self._stopping = threading.Event()
        self._follower: threading.Thread | None = None
        self._store = set(store)
        self._line = Line()
        self._server = FakeServer(self._line, credentials=credentials)
        self._server.handlers["GetModelStatus"] = self._status
        self._server.handlers["HandleReloadConfigRequest"] = self._reload
        self.ports = {"grpc": self._server.port}
        self._client = Client(self._server.target, retry=None, breaker=None)
        """For `line`; it speaks no TLS."""
        self.reload(config)

    def stop(self) -> None:
        self._stopping.set()
        if self._follower is not None:
            self._follower.join()
        self._client.close()
        self._server.stop()

    def reload(self, config: str) -> None:
        """Serves what the text of a models.config says."""
        message = text_format.Parse(config, pb.ModelServerConfig())
        refused = self._take(message)
        assert not refused, refused

    def follow(self, file: Path, every_s: float) -> None:
        """Polls a models.config from now on."""

        def poll() -> None:
            while not self._stopping.wait(every_s):
                self._take(text_format.Parse(file.read_text(), pb.ModelServerConfig()))

        self._follower = threading.Thread(target=poll)
        self._follower.start()

    def load_when_told(self, *models: str) -> None:
        """These models have a version, which is loaded at the next configuration."""
        self._others_there.update(models)

    def wait_loaded(self, *versions: int) -> None:
        """All of them are loaded already."""
        assert self._line.versions.keys() >= {*versions}

    def line(self, spec: str = "", values: tuple[float, ...] = (2.0,)) -> list[float] | str:
        """The answer to a call by label, or the code of its refusal: as RunningServer.line."""
        asked = text_format.Parse(spec, pb.ModelSpec())
        inputs = {"x": np.array(values, np.float32)}
        try:
            answer = self._client.predict(inputs, model="line", label=asked.version_label)
        except CallError as error:
            return error.code.name
        return answer["y"].tolist()

    def _take(self, config: Any) -> str:
        (model,) = (one for one in config.model_config_list.config if one.name == "line")
        listed = set(model.model_version_policy.specific.versions)
        labels = dict(model.version_labels)
        if listed & self._fatal:
            self._server.stop()
        loaded = listed & self._store
        for label, version in labels.items():
            if version not in loaded:
                return f"label {label} points at version {version}, which is not loaded"
        now = dict.fromkeys(loaded, "AVAILABLE")
        self._line.versions = {**self._line.versions, **now}  # no label is without its version
        self._line.labels = labels
        self._line.versions = now
        return ""

    def _status(self, request: Any, context: grpc.ServicerContext) -> Any:
        if request.model_spec.name in self.others:
            request.model_spec.name = self._line.name
        return self._server.usual("GetModelStatus")(request, context)

    def _reload(self, request: Any, context: grpc.ServicerContext) -> Any:
        response = pb.ReloadConfigResponse()
        listed = {one.name for one in request.config.model_config_list.config}
        self.others |= listed & self._others_there
        while listed - {"line"} - self.others:
            if self._stopping.wait(0.02) or not context.is_active():
                return response
        if refused := self._take(request.config):
            response.status.error_code = grpc.StatusCode.FAILED_PRECONDITION.value[0]
            response.status.error_message = refused
        return response
