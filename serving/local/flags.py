"""tensorflow_model_server's command line, all of it.

Takes TensorFlow Serving 2.19's flags in its own ways: `--flag=value`, booleans as `--flag`,
`--flag=true` or `--flag=false`; also `--flag value`, which TensorFlow Serving does not take. An
unknown argument is reported and otherwise ignored.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final, TypeVar

from serving.local.errors import refuse

HOST: Final = "0.0.0.0"
"""All interfaces, as TensorFlow Serving listens; it has no flag for that."""

CPUS: Final = (
    len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
)
"""The processors that this process may use, which is what TensorFlow Serving counts."""

_THREADS: Final = 4 * CPUS

Value = TypeVar("Value", bool, int, float, str)


def _flag(default: Value, usage: str) -> Value:
    # A field with the text that --help prints for it.
    return field(default=default, metadata={"usage": usage})


@dataclass(frozen=True, kw_only=True)
class Flags:
    """The flags that work here, by TensorFlow Serving's names, with its defaults.

    The last four are this server's own.
    """

    port: int = _flag(8500, "gRPC; 0: no TCP port (with --port_file: any free one)")
    grpc_socket_path: str = _flag("", "a Unix socket for gRPC, besides the port")
    rest_api_port: int = _flag(0, "REST; 0: off (with --port_file: any free one)")
    rest_api_num_threads: int = _flag(_THREADS, "REST requests that are answered at a time")
    rest_api_timeout_in_ms: int = _flag(30_000, "REST: DEADLINE_EXCEEDED after that; 0: never")
    rest_api_enable_cors_support: bool = _flag(False, "REST: allow calls from any web page")
    grpc_max_threads: int = _flag(
        _THREADS, "gRPC requests that are answered at a time; a further one is RESOURCE_EXHAUSTED"
    )
    grpc_channel_arguments: str = _flag("", "gRPC's own, as key=value,key=value")
    ssl_config_file: str = _flag("", "an SSLConfig in text form: TLS on gRPC")
    enable_grpc_healthcheck_service: bool = _flag(False, "answer grpc.health.v1.Health")
    monitoring_config_file: str = _flag(
        "", "a MonitoringConfig in text form: the metrics page on the REST port"
    )

    model_name: str = _flag("default", "ignored with --model_config_file")
    model_base_path: str = _flag("", "ignored with --model_config_file, else required")
    model_config_file: str = _flag("", "a ModelServerConfig in text form")
    model_config_file_poll_wait_seconds: int = _flag(0, "0: the file is read once")
    file_system_poll_wait_seconds: int = _flag(
        1, "between two looks for versions; 0: one look; negative: none"
    )
    allow_version_labels_for_unavailable_models: bool = _flag(
        False, "a new label may point at a version that is not loaded"
    )
    max_num_load_retries: int = _flag(5, "attempts after the first one")
    load_retry_interval_micros: int = _flag(60_000_000, "between two attempts")
    num_load_threads: int = _flag(0, "loads at a time; 0: one")
    num_unload_threads: int = _flag(0, "unloads at a time; 0: one")
    enable_model_warmup: bool = _flag(True, "replay assets.extra/tf_serving_warmup_requests")
    num_request_iterations_for_warmup: int = _flag(0, "times that each is replayed; 0: once")
    saved_model_tags: str = _flag("serve", "comma-separated")
    prefer_tflite_model: bool = _flag(False, "model.tflite rather than saved_model.pb")
    enable_signature_method_name_check: bool = _flag(
        False, "refuse signatures whose method name is not that of the API"
    )
    enable_serialization_as_tensor_content: bool = _flag(
        False, "Predict answers with tensor_content rather than *_val"
    )

    enable_batching: bool = _flag(False, "merge the requests of different callers")
    batching_parameters_file: str = _flag("", "BatchingParameters in text form")
    tensorflow_session_parallelism: int = _flag(0, "both of the following; 0: one thread a core")
    tensorflow_intra_op_parallelism: int = _flag(0, "threads within one op; 0: one a core")
    tensorflow_inter_op_parallelism: int = _flag(0, "ops at a time; 0: one a core")
    per_process_gpu_memory_fraction: float = _flag(0.0, "0: as TensorFlow likes")

    version: bool = _flag(False, "print the version and end")

    model_path_prefix_map: str = _flag(
        "", "own: /models=/abs/folder, where a prefix of base_path lies on this machine"
    )
    try_page: bool = _flag(False, "own: the page /try on the REST port, for browsers here")
    port_file: str = _flag("", 'own: receives {"grpc": 8500, "rest": 8501} once the server answers')
    stop_grace_seconds: float = _flag(
        5.0, "own: time that requests in flight have after SIGTERM or Ctrl-C"
    )

    def prefix_map(self) -> tuple[str, str] | None:
        """`model_path_prefix_map` in two parts, None where it is not given."""
        prefix, _, folder = self.model_path_prefix_map.partition("=")
        return (prefix, folder) if prefix else None

    def channel_arguments(self) -> list[tuple[str, int | str]]:
        """`grpc_channel_arguments` in pairs, whole numbers as such."""
        pairs: list[tuple[str, int | str]] = []
        for argument in filter(None, self.grpc_channel_arguments.split(",")):
            key, _, value = argument.partition("=")
            pairs.append((key, int(value) if _INTEGER.fullmatch(value) else value))
        return pairs

    def check(self) -> None:
        """Refuses combinations that TensorFlow Serving refuses, in its words.

        Raises:
            ServingError: INVALID_ARGUMENT.
        """
        if not (self.port or self.grpc_socket_path or self.port_file):
            refuse(
                "At least one of server_options.grpc_port or server_options.grpc_socket_path must "
                "be set."
            )
        if not (self.model_base_path or self.model_config_file):
            refuse(
                "Both server_options.model_base_path and server_options.model_config_file are "
                "empty!"
            )
        if self.batching_parameters_file and not self.enable_batching:
            refuse(
                "server_options.batching_parameters_file is set without setting "
                "server_options.enable_batching to true."
            )
        within, between = self.tensorflow_intra_op_parallelism, self.tensorflow_inter_op_parallelism
        if within > 0 and between > 0 and self.tensorflow_session_parallelism > 0:
            refuse(
                "Either configure server_options.tensorflow_session_parallelism or "
                "(server_options.tensorflow_intra_op_parallelism, "
                "server_options.tensorflow_inter_op_parallelism) separately. You cannot configure "
                "all."
            )
        for name in ("grpc_max_threads", "rest_api_num_threads"):
            if getattr(self, name) < 1:
                refuse(f"Expected at least 1 for --{name}. Received: {getattr(self, name)}.")
        if self.try_page and not (self.rest_api_port or self.port_file):
            refuse(
                "Expected --rest_api_port with --try_page. Received: none. The page lies on the "
                "REST port: name one, or leave the page out."
            )
        _, separator, folder = self.model_path_prefix_map.partition("=")
        if self.model_path_prefix_map and not (self.prefix_map() and separator and folder):
            refuse(
                "Expected --model_path_prefix_map=/models=/abs/folder. Received: "
                f"{self.model_path_prefix_map}. Write the prefix, an equals sign and the folder."
            )


_DEFAULTS: Final[dict[str, Any]] = {declared.name: declared.default for declared in fields(Flags)}

NO_EFFECT: Final[dict[str, bool | int | float | str]] = {
    "enable_per_model_batching_parameters": False,
    "enable_profiler": True,
    "flush_filesystem_caches": True,
    "mixed_precision": "",
    "num_tflite_interpreters_per_pool": 1,
    "num_tflite_pools": CPUS,
    "platform_config_file": "",
    "remove_unused_fields_from_bundle_metagraph": True,
    "skip_initialize_tpu": False,
    "tensorflow_session_config_file": "",
    "thread_pool_factory_config_file": "",
    "use_alts_credentials": False,
    "xla_cpu_compilation_enabled": False,
    "xla_gpu_compilation_enabled": False,
}
"""The rest of TensorFlow Serving's flags, with its defaults: accepted, without any effect."""

_INTEGER: Final = re.compile(r"[+-]?\d{1,18}", re.ASCII)
"""Python does not read numbers of thousands of digits, and no flag takes so large a one."""


def parse(arguments: Sequence[str], say: Callable[[str], None]) -> Flags:
    """Parses a command line.

    Args:
        arguments: without the program's name.
        say: called with one line for each unknown argument, and one for flags without effect.

    Raises:
        ServingError: a value of a known flag that is not of its kind.
    """
    values: dict[str, Any] = {}
    unknown: list[str] = []
    idle: list[str] = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        name, separator, text = argument.removeprefix("--").partition("=")
        known = argument.startswith("--") and (name in _DEFAULTS or name in NO_EFFECT)
        if not known:
            # Everything after a bare `--` is unknown, as for TensorFlow's own parser.
            unknown += [argument, *(rest if argument == "--" else ())]
            rest = [] if argument == "--" else rest
            continue
        default = _DEFAULTS.get(name, NO_EFFECT.get(name))
        if not separator and rest and _can_be_value(default, rest[0]):
            separator, text = "=", rest.pop(0)
        value = _value(name, default, separator, text)
        if name in _DEFAULTS:
            values[name] = value
        else:
            idle.append(f"--{name}")
    for argument in unknown:
        say(f"unknown argument: {argument}")
    if idle:
        say(f"no effect on this server: {', '.join(idle)}")
    return Flags(**values)


def usage(program: str) -> str:
    """What --help prints: every flag with its default."""
    described = [(flag.name, flag.default, flag.metadata["usage"]) for flag in fields(Flags)]
    described += [(name, default, "no effect here") for name, default in NO_EFFECT.items()]
    return "\n".join([f"usage: {program}", "Flags:", *(_usage_line(*flag) for flag in described)])


def _usage_line(name: str, default: Any, text: str) -> str:
    shown = str(default).lower() if isinstance(default, bool) else default
    shown = f'"{shown}"' if isinstance(default, str) else shown
    return f"\t{f'--{name}={shown}':<52}\t{type(default).__name__}\t{text}"


def _can_be_value(default: Any, word: str) -> bool:
    """Whether a word that stands alone is the value of the flag before it."""
    return word in ("true", "false") if isinstance(default, bool) else not word.startswith("--")


def _value(name: str, default: Any, separator: str, text: str) -> Any:
    """The value of the default's kind, read as TensorFlow reads it."""
    match default:
        case bool():
            if not separator or text in ("true", "false"):
                return text != "false"
            text = f"={text}"
        case int():
            if _INTEGER.fullmatch(text):
                return int(text)
        case float():
            try:
                return float(text)
            except ValueError:
                pass
        case _:
            return text
    refuse(f"Couldn't interpret value {text} for flag {name}.")
