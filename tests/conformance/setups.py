"""The two servers that the table asks: their configuration files and flags.

`default` has TensorFlow Serving's own defaults; `flags` has every flag whose effect a request can
see. Labels cannot stand in the first configuration of a server without
--allow_version_labels_for_unavailable_models, so both are given them by a reload once they serve.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final, get_args

from tests.conformance.case import MODELS, Setup

SETUPS: Final[tuple[Setup, ...]] = get_args(Setup)

METRICS_PATH: Final = "/monitoring/prometheus/metrics"

BATCHING: Final = """\
max_batch_size { value: 8 }
batch_timeout_micros { value: 20000 }
max_enqueued_batches { value: 4 }
num_batch_threads { value: 1 }
allowed_batch_sizes: 4
allowed_batch_sizes: 8
pad_variable_length_inputs: false
"""

MONITORING: Final = f'prometheus_config {{ enable: true path: "{METRICS_PATH}" }}\n'

MAX_RECEIVED_BYTES: Final = 16 * 2**20

LABELS: Final = {"stable": 1, "canary": 2}


def model(called: str, policy: str = "", labels: dict[str, int] | None = None, **other: str) -> str:
    """A `config { … }` entry below $MODELS; `other` replaces a field, empty leaves it out."""
    held = {"name": called, "base_path": f"{MODELS}/{called}", "model_platform": "tensorflow"}
    held |= other
    fields = [f'{key}: "{value}"' for key, value in held.items() if value]
    if policy:
        fields.append(f"model_version_policy {{ {policy} }}")
    for label, version in (labels or {}).items():
        fields.append(f'version_labels {{ key: "{label}" value: {version} }}')
    return f"config {{ {' '.join(fields)} }}"


def affine(
    versions: Iterable[int] = (1, 2), labels: dict[str, int] | None = None, **other: str
) -> str:
    """The entry of the model whose versions and labels are moved."""
    policy = " ".join(f"versions: {version}" for version in versions)
    return model("affine", f"specific {{ {policy} }}", labels, **other)


def others(setup: Setup) -> str:
    """The entries of all other models."""
    entries = [model("many", "all { }"), model("scalar")]
    entries += [model(name) for name in ("echo", "examples", "convolution", "old", "named")]
    # Versions that cannot be loaded would be tried again for minutes by the defaults.
    broken = " ".join(f"versions: {v}" for v in ((1,) if setup == "default" else (1, 3, 4, 5)))
    return " ".join([*entries, model("assorted", f"specific {{ {broken} }}")])


def whole(setup: Setup, labels: dict[str, int] | None = None) -> str:
    """A whole ModelServerConfig with every model; $MODELS is still to be replaced."""
    return f"model_config_list {{ {affine(labels=labels)} {others(setup)} }}"


def write_files(out: Path, seen: str) -> None:
    """Writes the configuration that each setup starts with.

    Args:
        out: the folder of the models.
        seen: the same folder as the server sees it.
    """
    # Version 1 alone first: a version that fails before another serves would end the server.
    start = whole("default").replace(MODELS, seen)
    (out / "models.config").write_text(start + "\n", encoding="utf-8")
    (out / "batching.config").write_text(BATCHING, encoding="utf-8")
    (out / "monitoring.config").write_text(MONITORING, encoding="utf-8")


def flags(setup: Setup, seen: str) -> list[str]:
    """TensorFlow Serving's flags of a setup, but for the ports.

    Args:
        setup: which.
        seen: the folder of the models as the server sees it.
    """
    found = [f"--model_config_file={seen}/models.config", "--grpc_max_threads=32"]
    if setup == "flags":
        found += [
            "--enable_batching=true",
            f"--batching_parameters_file={seen}/batching.config",
            f"--monitoring_config_file={seen}/monitoring.config",
            "--max_num_load_retries=0",
            "--allow_version_labels_for_unavailable_models=true",
            "--rest_api_enable_cors_support=true",
            "--enable_grpc_healthcheck_service=true",
            "--enable_signature_method_name_check=true",
            "--enable_serialization_as_tensor_content=true",
            f"--grpc_channel_arguments=grpc.max_receive_message_length={MAX_RECEIVED_BYTES}",
        ]
    return found
