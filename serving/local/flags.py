"""tensorflow_model_server's command line.

Takes TensorFlow Serving's own flags in its own ways: `--flag=value` and `--flag value`, booleans as
`--flag`, `--flag=true` or `--flag=1`. An unknown flag is named and passed over, it does not stop
the server. Knows nothing about what the flags do.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

from serving.local.errors import refuse

HOST: Final = "0.0.0.0"
"""All interfaces, as TensorFlow Serving listens; no flag of its changes that."""


@dataclass(frozen=True, kw_only=True)
class Flags:
    """The flags that work here, by TensorFlow Serving's names, with its defaults.

    The last three are this server's own.
    """

    port: int = 8500
    """gRPC; 0 takes a free one."""
    rest_api_port: int = -1
    """REST; off unless set, 0 takes a free one (TensorFlow Serving's 0 means off)."""
    rest_api_num_threads: int = 4 * (os.cpu_count() or 1)
    rest_api_timeout_in_ms: int = 30_000
    model_name: str = "default"
    model_base_path: str = ""
    model_config_file: str = ""
    model_config_file_poll_wait_seconds: int = 0
    """0: read once."""
    file_system_poll_wait_seconds: int = 1
    """0: look once; negative: never."""
    allow_version_labels_for_unavailable_models: bool = False
    max_num_load_retries: int = 5
    load_retry_interval_micros: int = 60_000_000
    num_load_threads: int = 0
    """Loads at the same time; 0: one."""
    enable_model_warmup: bool = True
    num_request_iterations_for_warmup: int = 1
    saved_model_tags: str = "serve"
    """Comma-separated."""
    tensorflow_session_parallelism: int = 0
    """Both thread pools of TensorFlow; 0: one thread a core."""
    tensorflow_intra_op_parallelism: int = 0
    tensorflow_inter_op_parallelism: int = 0
    per_process_gpu_memory_fraction: float = 0.0
    enable_batching: bool = False
    batching_parameters_file: str = ""
    grpc_max_threads: int = 4 * (os.cpu_count() or 1)
    grpc_channel_arguments: str = ""
    """`key=value`, comma-separated."""

    model_path_prefix_map: str = ""
    """`/models=/abs/folder`: where a prefix of base_path lies on this machine."""
    port_file: str = ""
    """Receives one line of JSON, `{"grpc": 8500, "rest": 8501}`, once the server answers."""
    stop_grace_seconds: float = 5.0
    """Time that requests in flight have after SIGTERM or Ctrl-C."""

    def prefix_map(self) -> tuple[str, str] | None:
        """`model_path_prefix_map` in two parts, None where it is not given.

        Raises:
            ServingError: it is not of the form prefix=folder.
        """
        if not self.model_path_prefix_map:
            return None
        prefix, separator, folder = self.model_path_prefix_map.partition("=")
        if not (separator and prefix and folder):
            refuse(
                "Expected --model_path_prefix_map=/models=/abs/folder. Received: "
                f"{self.model_path_prefix_map}. Write the prefix, an equals sign and the folder."
            )
        return prefix, folder

    def channel_arguments(self) -> list[tuple[str, int | str]]:
        """`grpc_channel_arguments` in pairs, whole numbers as such."""
        pairs: list[tuple[str, int | str]] = []
        for argument in filter(None, self.grpc_channel_arguments.split(",")):
            key, _, value = argument.partition("=")
            pairs.append((key, int(value) if value.lstrip("-").isdigit() else value))
        return pairs


NO_EFFECT: Final = frozenset(
    {
        "enable_cors_support",
        "enable_grpc_healthcheck_service",
        "enable_profiler",
        "enable_serialization_as_tensor_content",
        "enable_signature_method_name_check",
        "flush_filesystem_caches",
        "grpc_socket_path",
        "monitoring_config_file",
        "num_unload_threads",
        "platform_config_file",
        "prefer_tflite_model",
        "remove_unused_fields_from_bundle_metagraph",
        "rest_api_enable_cors_support",
        "ssl_config_file",
        "tensorflow_session_config_file",
        "thread_pool_factory_config_file",
        "use_tflite_model",
        "xla_cpu_compilation_enabled",
        "xla_gpu_compilation_enabled",
    }
)
"""Flags of TensorFlow Serving that are taken and do nothing here (yet)."""

_KINDS: Final[dict[str, str]] = {field.name: str(field.type) for field in fields(Flags)}


def parse(arguments: Sequence[str], say: Callable[[str], None]) -> Flags:
    """Parses a command line.

    Args:
        arguments: without the program's name.
        say: told, a line each, of what is unknown or has no effect.

    Raises:
        ServingError: a value of a known flag that is not of its kind.
    """
    values: dict[str, Any] = {}
    idle: list[str] = []
    position = 0
    while position < len(arguments):
        argument = arguments[position]
        position += 1
        name, separator, text = argument.removeprefix("--").partition("=")
        known = name in _KINDS
        if not argument.startswith("--") or not (known or name in NO_EFFECT):
            say(f"unknown argument: {argument}")
            continue
        if not separator and _takes_next(name, arguments, position):
            text = arguments[position]
            position += 1
        if known:
            values[name] = _value(name, text)
        else:
            idle.append(f"--{name}")
    if idle:
        say(f"no effect on this server: {', '.join(idle)}")
    return Flags(**values)


def _takes_next(name: str, arguments: Sequence[str], position: int) -> bool:
    """Whether the next word is this flag's value: booleans take one only if it can be one."""
    if position >= len(arguments):
        return False
    following = arguments[position]
    if _KINDS.get(name, "bool") == "bool":
        return following.lower() in ("true", "false", "1", "0")
    return not following.startswith("--")


def _value(name: str, text: str) -> Any:
    match _KINDS[name]:
        case "bool":
            if text.lower() in ("", "true", "1"):
                return True
            if text.lower() in ("false", "0"):
                return False
        case "int":
            if text.lstrip("-").isdigit():
                return int(text)
        case "float":
            try:
                return float(text)
            except ValueError:
                pass
        case _:
            return text
    refuse(
        f"Expected a value of type {_KINDS[name]} for --{name}. Received: {text or 'nothing'}. "
        f"Write --{name}=value."
    )
