"""Puts the server together: loader, core, watchers, transports. Importing it imports TensorFlow."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Final

import tensorflow as tf

from serving.local import batching_parameters, model_store
from serving.local.batch_scheduler import BatchScheduler
from serving.local.batching import Scheduler
from serving.local.batching_parameters import BatchingParameters
from serving.local.core import ConfigWatcher, CoreOptions, ServerCore
from serving.local.errors import ServingError
from serving.local.flags import HOST, Flags
from serving.local.grpc_server import GrpcServer
from serving.local.http_server import HttpServer
from serving.local.loading import ModelLoader, WarmupOptions
from serving.local.rest_server import RestApi
from serving.local.versions import LoadOptions, State
from serving.models_config import ModelsConfig
from training.command_line import InputError

_log = logging.getLogger(__name__)

TENSORFLOW: Final[str] = tf.__version__


class Server:
    """A whole server in this process; `close` ends it."""

    def __init__(self, flags: Flags, config: ModelsConfig) -> None:
        """Begins to load.

        Raises:
            InputError: the configuration is refused.
        """
        model_store.prepare_tensorflow()
        self._flags = flags
        self._grpc: GrpcServer | None = None
        self._rest: HttpServer | None = None
        self._batching = _batching(flags)
        self._core = ServerCore(_loader(flags, self._batching), _core_options(flags))
        try:
            self._core.reload(config)
        except ServingError as error:
            self._core.close()
            raise InputError(f"Failed to start server. Error: {error}") from error
        self._watcher = ConfigWatcher(
            self._core,
            Path(flags.model_config_file),
            flags.model_config_file_poll_wait_seconds if flags.model_config_file else 0,
        )

    def wait_until_ready(self, stop: threading.Event) -> str:
        """Waits until each model serves, for ever if need be, or until it is told to stop.

        Returns:
            What failed, empty if nothing did: a model whose first version has ended.
        """
        while not stop.is_set():
            settled = self._core.wait_until_available(timeout_s=0.1)
            for name, status in settled.items():
                if status.state is State.END:
                    return f"{name} version {status.version} could not be loaded: {status.error}"
            if self._core.all_settled(settled):
                break
        return ""

    def listen(self) -> dict[str, int]:
        """Opens the ports and begins to watch the config file.

        Returns:
            "grpc" (and "rest", if it is on) → the port.

        Raises:
            InputError: a port cannot be had.
        """
        flags = self._flags
        try:
            self._grpc = GrpcServer(
                self._core,
                f"{HOST}:{flags.port}",
                flags.grpc_max_threads,
                flags.channel_arguments(),
            )
        except OSError as error:
            raise InputError(f"Expected a free port. Received: {error}") from error
        ports = {"grpc": self._grpc.port}
        if flags.rest_api_port >= 0:
            self._rest = self._rest_server()
            self._rest.start()
            ports["rest"] = self._rest.port
        self._grpc.start()
        self._watcher.start()
        _log.info("listening: %s", ", ".join(f"{name} on port {p}" for name, p in ports.items()))
        return ports

    def close(self) -> None:
        """Stops listening, lets requests in flight finish, unloads."""
        self._watcher.close()
        if self._batching is not None:
            self._batching.drain()
        if self._grpc is not None:
            self._grpc.close(self._flags.stop_grace_seconds)
        if self._rest is not None:
            self._rest.close(self._flags.stop_grace_seconds)
        self._core.close()
        if self._batching is not None:
            self._batching.close()

    def _rest_server(self) -> HttpServer:
        flags = self._flags
        try:
            return HttpServer(
                RestApi(self._core),
                HOST,
                flags.rest_api_port,
                flags.rest_api_num_threads,
                flags.rest_api_timeout_in_ms / 1000,
            )
        except OSError as error:
            raise InputError(
                f"Expected a free port. Received: --rest_api_port={flags.rest_api_port}, {error}"
            ) from error


def _core_options(flags: Flags) -> CoreOptions:
    return CoreOptions(
        folder_poll_wait_s=flags.file_system_poll_wait_seconds,
        prefix_map=flags.prefix_map(),
        labels_for_unavailable_versions=flags.allow_version_labels_for_unavailable_models,
        load=LoadOptions(
            max_retries=flags.max_num_load_retries,
            retry_interval_s=flags.load_retry_interval_micros / 1e6,
            threads=flags.num_load_threads,
        ),
    )


def _batching(flags: Flags) -> Scheduler | None:
    """The scheduler that all versions share; None where batching is off.

    Raises:
        InputError: the parameters are refused.
    """
    file = flags.batching_parameters_file
    if not flags.enable_batching:
        if file:
            raise InputError(
                "Failed to start server. Error: INVALID_ARGUMENT: server_options."
                "batching_parameters_file is set without setting server_options.enable_batching "
                "to true."
            )
        return None
    try:
        parameters = batching_parameters.read(Path(file)) if file else BatchingParameters()
    except ServingError as error:
        raise InputError(f"Failed to start server. Error: {error}") from error
    return BatchScheduler(parameters)


def _loader(flags: Flags, batching: Scheduler | None) -> ModelLoader:
    both = flags.tensorflow_session_parallelism
    return ModelLoader(
        model_store.SessionOptions(
            tags=tuple(flags.saved_model_tags.split(",")),
            intra_op_threads=flags.tensorflow_intra_op_parallelism or both,
            inter_op_threads=flags.tensorflow_inter_op_parallelism or both,
            gpu_memory_fraction=flags.per_process_gpu_memory_fraction,
        ),
        WarmupOptions(
            enabled=flags.enable_model_warmup,
            iterations=max(1, flags.num_request_iterations_for_warmup),
        ),
        batching,
    )
