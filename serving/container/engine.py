"""Which server to start, and its command line: a container engine's, or the local server's.

Builds commands and asks engines; starts no server. The command lines are plain lists, so that a
test can read them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from foundation.command_line import InputError
from tfs_client import contract

IMAGE: Final = "tensorflow/serving:2.19.1"
"""The newest version of which a GPU image in public use was found, so that both are one version; it
serves what TensorFlow 2.21 exports."""

GPU_IMAGE: Final = f"{IMAGE}-gpu"

ENGINES: Final = ("docker", "podman")

_CONFIG_FOLDER: Final = "/etc/tensorflow_serving"
"""Where serving/ is mounted in the container: the folder, not the file, so that an editor that
replaces models.config is seen."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is served, and where."""

    grpc_port: int = contract.GRPC_PORT
    rest_port: int = contract.REST_PORT
    models: Path = Path("models")
    """The model store on this machine; the server sees it as /models."""
    config: Path = Path("serving/models.config")
    grpc_max_threads: int = 128
    """The most concurrent calls. TensorFlow Serving's default is 4 a core: two cores refuse the
    ninth."""


@dataclass(frozen=True)
class ServerCommand:
    """A server to start."""

    kind: str
    """`container` or `local`."""
    reason: str
    argv: Sequence[str]
    cleanup: Sequence[str] = ()
    """Run after the server has ended, to remove what a kill left behind."""


def choose(server: str, settings: Settings) -> ServerCommand:
    """Picks a server.

    Args:
        server: `auto`, `container` or `local`.
        settings: what it serves.

    Raises:
        InputError: a container was asked for and cannot be had.
    """
    if server == "local":
        return local_command(settings, "asked for")
    found, reason = _find_engine()
    if found is not None:
        gpu, gpu_reason = _gpu_visible(os.environ)
        image = GPU_IMAGE if gpu else IMAGE
        if _has_image(found, image):
            batching = "" if _batching_file(settings).exists() else ", batching off"
            return container_command(
                settings, found, gpu, f"{found} answers, {image}, {gpu_reason}{batching}"
            )
        reason = f"{found} answers, but {image} is not there and cannot be pulled"
    if server == "container":
        raise InputError(
            f"Expected a container engine with {IMAGE}. Received: {reason}. "
            "Start docker or podman, or serve with --server local."
        )
    return local_command(settings, reason)


def server_flags(settings: Settings, config: str) -> list[str]:
    """TensorFlow Serving's flags, the same for both servers.

    Args:
        settings: what is served.
        config: models.config as the server sees it; its neighbours lie beside it.
    """
    folder = str(Path(config).parent)
    flags = [
        f"--model_config_file={config}",
        "--model_config_file_poll_wait_seconds=2",
        "--file_system_poll_wait_seconds=1",
        # A restart with a canary label, or a new version listed together with its label, must work.
        "--allow_version_labels_for_unavailable_models=true",
        f"--grpc_max_threads={settings.grpc_max_threads}",
        # A version that fails is broken, or its volume comes a second late, but not five minutes.
        "--max_num_load_retries=1",
        "--load_retry_interval_micros=1000000",
        # The profiler shares the port with Predict, so everyone who may predict could start it.
        "--enable_profiler=false",
        # Says that gRPC itself answers; nothing of a model or a label, which REST's metadata does.
        "--enable_grpc_healthcheck_service=true",
        # Connections end after 30 s, with a grace for calls in flight, so that callers find new
        # servers and leave those that are being stopped. A call may fail at that moment, and has to
        # be tried once more, as tfs_client does. It is set on a laptop as well, so that a caller
        # without a retry is found before it runs in the cluster.
        "--grpc_channel_arguments=grpc.max_connection_age_ms=30000,"
        "grpc.max_connection_age_grace_ms=10000",
    ]
    if (settings.config.parent / "monitoring.config").exists():
        flags.append(f"--monitoring_config_file={folder}/monitoring.config")
    if _batching_file(settings).exists():
        flags += ["--enable_batching=true", f"--batching_parameters_file={folder}/batching.config"]
    return flags


def container_command(settings: Settings, engine: str, gpu: bool, reason: str) -> ServerCommand:
    """TensorFlow Serving in a container; --init, because as process 1 it would ignore SIGTERM."""
    name = f"tfserving-{settings.grpc_port}"
    config = settings.config.resolve()
    argv = [
        engine,
        "run",
        "--rm",
        "--init",
        f"--name={name}",
        f"--publish={settings.grpc_port}:{contract.GRPC_PORT}",
        f"--publish={settings.rest_port}:{contract.REST_PORT}",
        f"--volume={settings.models.resolve()}:{contract.MODEL_STORE}:ro",
        f"--volume={config.parent}:{_CONFIG_FOLDER}:ro",
        "--env=TF_CPP_MIN_LOG_LEVEL=1",
    ]
    if gpu:
        argv += ["--gpus=all"] if engine == "docker" else ["--device=nvidia.com/gpu=all"]
        # Or the first version takes the whole GPU and the second one finds none left.
        argv.append("--env=TF_FORCE_GPU_ALLOW_GROWTH=true")
    argv += [
        "--entrypoint=tensorflow_model_server",
        GPU_IMAGE if gpu else IMAGE,
        f"--port={contract.GRPC_PORT}",
        f"--rest_api_port={contract.REST_PORT}",
        *server_flags(settings, f"{_CONFIG_FOLDER}/{config.name}"),
    ]
    return ServerCommand("container", reason, argv, cleanup=(engine, "rm", "--force", name))


def local_command(settings: Settings, reason: str) -> ServerCommand:
    """The embedded server, run by the present interpreter."""
    argv = [
        sys.executable,
        "-m",
        "serving.local",
        f"--port={settings.grpc_port}",
        f"--rest_api_port={settings.rest_port}",
        *server_flags(settings, str(settings.config.resolve())),
        f"--model_path_prefix_map={contract.MODEL_STORE}={settings.models.resolve()}",
        "--try_page",
    ]
    return ServerCommand("local", reason, argv)


def _batching_file(settings: Settings) -> Path:
    return settings.config.parent / "batching.config"


def _find_engine() -> tuple[str | None, str]:
    """An engine that answers, or why there is none."""
    reasons = []
    for engine in ENGINES:
        if shutil.which(engine) is None:
            reasons.append(f"{engine} not found")
        elif not _succeeds([engine, "info"], timeout_s=10):
            reasons.append(f"{engine} is not running")
        else:
            return engine, ""
    return None, f"no container engine answers: {', '.join(reasons)}"


def _has_image(engine: str, image: str) -> bool:
    if _succeeds([engine, "image", "inspect", image], timeout_s=10):
        return True
    print(f"pulling {image}", file=sys.stderr, flush=True)
    return _succeeds([engine, "pull", "--quiet", image], timeout_s=900)


def _gpu_visible(
    environ: Mapping[str, str], which: Callable[[str], str | None] = shutil.which
) -> tuple[bool, str]:
    if environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return False, "GPUs hidden by CUDA_VISIBLE_DEVICES"
    if which("nvidia-smi") is None or not _succeeds(["nvidia-smi", "--list-gpus"], timeout_s=10):
        return False, "no GPU visible"
    return True, "a GPU is visible"


def _succeeds(argv: Sequence[str], timeout_s: float) -> bool:
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=timeout_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
