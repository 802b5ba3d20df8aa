"""Puts the server together: loader, core, watchers, transports. Importing it imports TensorFlow."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import tensorflow as tf

from serving.local import config_files, metrics
from serving.local.batching import parameters as batching_parameters
from serving.local.batching.batched_model import Scheduler
from serving.local.batching.parameters import BatchingParameters
from serving.local.batching.scheduler import BatchScheduler
from serving.local.config_watcher import ConfigWatcher
from serving.local.core import CoreOptions, ServerCore
from serving.local.errors import ServingError
from serving.local.flags import HOST, Flags
from serving.local.grpc.server import GrpcOptions, GrpcServer, credentials
from serving.local.inference import InferenceOptions
from serving.local.loading import saved_model
from serving.local.loading.loader import ModelLoader
from serving.local.loading.warmup import WarmupOptions
from serving.local.versions.states import LoadOptions
from serving.models_config import ModelsConfig

if TYPE_CHECKING:
    from serving.local.rest.api import RestApi
    from serving.local.rest.http import Application, HttpServer

_log = logging.getLogger(__name__)

_LINGER_S: Final = 0.05
"""Time that the last answers have to leave the sockets."""

TENSORFLOW: Final[str] = tf.__version__


class Server:
    """A whole server in this process; leaving its context stops it, the process ends next."""

    def __init__(self, flags: Flags, config: ModelsConfig) -> None:
        """Begins to load.

        Raises:
            ServingError: the configuration is refused.
            OSError: a file that the flags name cannot be read.
        """
        self._flags = flags
        self._credentials = credentials(flags.ssl_config_file) if flags.ssl_config_file else None
        self._metrics_path = _metrics_path(flags.monitoring_config_file)
        saved_model.prepare_tensorflow()
        self._grpc: GrpcServer | None = None
        self._rest: HttpServer | None = None
        self._batching = _batching(flags)
        self._core = ServerCore(_loader(flags, self._batching), _core_options(flags))
        try:
            self._core.start(config)
        except ServingError:
            self._core.close()
            raise
        self._watcher = ConfigWatcher(
            self._core,
            Path(flags.model_config_file),
            flags.model_config_file_poll_wait_seconds if flags.model_config_file else 0,
        )
        # While the models load: aiohttp takes 0.3 s to import.
        self._rest_types = _rest_types()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def wait_until_ready(self, stop: threading.Event) -> None:
        """Waits until each model serves, for ever if need be, or until it is told to stop.

        Raises:
            ServingError: UNKNOWN, a model whose first version has ended.
        """
        while not stop.is_set() and not self._core.wait_until_available(timeout_s=0.1):
            pass

    def listen(self) -> dict[str, int]:
        """Opens the ports and begins to watch the config file.

        Returns:
            "grpc" and "rest", as far as they are on → the port.

        Raises:
            ServingError: the gRPC port cannot be had.
            OSError: the REST port cannot be had.
        """
        flags = self._flags
        any_port = bool(flags.port_file)
        self._grpc = GrpcServer(
            self._core,
            GrpcOptions(
                port=flags.port if flags.port or any_port else None,
                socket_path=flags.grpc_socket_path,
                max_threads=flags.grpc_max_threads,
                channel_arguments=flags.channel_arguments(),
                credentials=self._credentials,
                health=flags.enable_grpc_healthcheck_service,
            ),
        )
        ports = {} if self._grpc.port is None else {"grpc": self._grpc.port}
        if flags.rest_api_port == flags.port and flags.port:
            _log.error("--rest_api_port cannot be --port: no REST API")
        elif flags.rest_api_port or any_port:
            self._rest = self._new_rest()
            self._rest.start()
            ports["rest"] = self._rest.port
        self._grpc.start()
        self._watcher.start()
        _log.info("listening: %s", ", ".join(f"{name} on port {p}" for name, p in ports.items()))
        return ports

    def _new_rest(self) -> HttpServer:
        new_server, new_api = self._rest_types
        flags = self._flags
        api = new_api(
            self._core,
            cors=flags.rest_api_enable_cors_support,
            metrics_path=self._metrics_path,
        )
        served = self._with_page(api) if flags.try_page else api
        timeout_s = flags.rest_api_timeout_in_ms / 1000
        return new_server(served, HOST, flags.rest_api_port, flags.rest_api_num_threads, timeout_s)

    def _with_page(self, api: RestApi) -> Application:
        # Imported here: nothing else needs jinja2, which takes its time.
        from serving.local.try_page.page import TryPage

        port = None if self._grpc is None or self._flags.ssl_config_file else self._grpc.port
        return TryPage(api, self._core, port)

    def close(self) -> None:
        """Refuses new requests, lets those in flight finish within the grace time, unloads."""
        deadline = time.monotonic() + self._flags.stop_grace_seconds
        for transport in (self._grpc, self._rest):
            if transport is not None:
                transport.refuse()
        self._core.stop_reloads()
        self._watcher.close()
        if self._batching is not None:
            self._batching.drain()
        for transport in (self._grpc, self._rest):
            if transport is not None:
                transport.drain(max(0.0, deadline - time.monotonic()))
        time.sleep(_LINGER_S)
        self._core.close(max(0.1, deadline - time.monotonic()))
        if self._batching is not None:
            self._batching.close()


def _rest_types() -> tuple[type[HttpServer], type[RestApi]]:
    from serving.local.rest.api import RestApi
    from serving.local.rest.http import HttpServer

    return HttpServer, RestApi


def _metrics_path(monitoring_config_file: str) -> str:
    """Where the metrics page lies; empty where there is none."""
    if not monitoring_config_file:
        return ""
    config = config_files.read(monitoring_config_file, "MonitoringConfig").prometheus_config
    return (config.path or metrics.DEFAULT_PATH) if config.enable else ""


def _core_options(flags: Flags) -> CoreOptions:
    return CoreOptions(
        folder_poll_wait_s=flags.file_system_poll_wait_seconds,
        prefix_map=flags.prefix_map(),
        labels_for_unavailable_versions=flags.allow_version_labels_for_unavailable_models,
        load=LoadOptions(
            max_retries=flags.max_num_load_retries,
            retry_interval_s=flags.load_retry_interval_micros / 1e6,
            load_threads=flags.num_load_threads,
            unload_threads=flags.num_unload_threads,
        ),
        inference=_inference(flags),
    )


def _inference(flags: Flags) -> InferenceOptions:
    return InferenceOptions(
        check_method_names=flags.enable_signature_method_name_check,
        outputs_as_tensor_content=flags.enable_serialization_as_tensor_content,
    )


def _batching(flags: Flags) -> Scheduler | None:
    """The scheduler that all versions share; None where batching is off.

    Raises:
        ServingError: the parameters are refused.
    """
    if not flags.enable_batching:
        return None
    file = flags.batching_parameters_file
    return BatchScheduler(batching_parameters.read(Path(file)) if file else BatchingParameters())


def _loader(flags: Flags, batching: Scheduler | None) -> ModelLoader:
    within, between = flags.tensorflow_intra_op_parallelism, flags.tensorflow_inter_op_parallelism
    if within <= 0 and between <= 0:
        within = between = flags.tensorflow_session_parallelism
    return ModelLoader(
        saved_model.SessionOptions(
            tags=tuple(flags.saved_model_tags.split(",")),
            intra_op_threads=within,
            inter_op_threads=between,
            gpu_memory_fraction=flags.per_process_gpu_memory_fraction,
        ),
        WarmupOptions(
            enabled=flags.enable_model_warmup,
            iterations=max(1, flags.num_request_iterations_for_warmup),
        ),
        batching,
        _inference(flags),
        prefer_tflite=flags.prefer_tflite_model,
        prefix_map=flags.prefix_map(),
    )
