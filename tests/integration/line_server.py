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
from serving.client.tests.model_server import ModelServer
from serving.models_config import Model, ModelsConfig, Specific
from tfs_client import Client, contract
from tfs_client.errors import CallError
from tfs_client.wire import serving_pb2 as pb, tensors


def config(*versions: int, labels: Mapping[str, int] | None = None) -> str:
    """A models.config that serves these versions of `line`."""
    model = Model(
        name="line", base_path="/models/line", policy=Specific(versions), labels=labels or {}
    )
    return models_config.render(ModelsConfig(models=(model,)))


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
        self._loaded: set[int] = set()
        self._labels: dict[str, int] = {}
        self._server = ModelServer(credentials=credentials)
        self._server.answers = {
            "Predict": self._predict,
            "GetModelMetadata": self._metadata,
            "GetModelStatus": self._status,
            "HandleReloadConfigRequest": self._reload,
        }
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
        assert self._loaded.issuperset(versions)

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
        self._loaded, self._labels = loaded, labels
        return ""

    def _find(self, spec: Any) -> int | str:
        """The version that a request is for, or the code that refuses it."""
        chosen = spec.WhichOneof("version_choice")
        if chosen == "version_label":
            return self._labels.get(spec.version_label, "INVALID_ARGUMENT")
        version = spec.version.value if chosen == "version" else max(self._loaded)
        return version if version in self._loaded else "NOT_FOUND"

    def _version(self, spec: Any, context: grpc.ServicerContext) -> int:
        found = self._find(spec)
        if found == "INVALID_ARGUMENT":
            text = f"Unrecognized servable version label: {spec.version_label}"
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, text)
        if found == "NOT_FOUND":
            text = f"Servable not found for request: Specific(line, {spec.version.value})"
            context.abort(grpc.StatusCode.NOT_FOUND, text)
        assert isinstance(found, int)
        return found

    def _predict(self, request: Any, context: grpc.ServicerContext) -> Any:
        version = self._version(request.model_spec, context)
        response = pb.PredictResponse(model_spec={"name": "line"})
        response.model_spec.version.value = version
        response.model_spec.signature_name = request.model_spec.signature_name
        x = tensors.from_proto(request.inputs["x"])
        response.outputs["y"].CopyFrom(tensors.to_proto(x / np.float32(2) + np.float32(version)))
        return response

    def _metadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        version = self._version(request.model_spec, context)
        signatures = pb.SignatureDefMap()
        signature = signatures.signature_def[contract.SIGNATURE_DEFAULT]
        signature.method_name = contract.METHOD_PREDICT
        for ports, name in ((signature.inputs, "x"), (signature.outputs, "y")):
            ports[name].dtype = pb.DT_FLOAT
            ports[name].tensor_shape.dim.add(size=-1)
        response = pb.GetModelMetadataResponse(model_spec={"name": "line"})
        response.model_spec.version.value = version
        packed = response.metadata["signature_def"]
        packed.type_url = "type.googleapis.com/tensorflow.serving.SignatureDefMap"
        packed.value = signatures.SerializeToString()
        return response

    def _status(self, request: Any, context: grpc.ServicerContext) -> Any:
        response = pb.GetModelStatusResponse()
        name = request.model_spec.name
        if name != "line" and name not in self.others:
            text = f"Could not find any versions of model {name}"
            context.abort(grpc.StatusCode.NOT_FOUND, text)
        for version in sorted(self._loaded, reverse=True):
            response.model_version_status.add(version=version, state="AVAILABLE")
        return response

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
