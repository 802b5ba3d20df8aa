"""The local server's command line: what it prints and how it ends."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from tests import forked_server
from tests.integration.local_server_fixtures import DEADLINE_S, ROOT, environment

BOTH_EMPTY = (
    "Failed to start server. Error: INVALID_ARGUMENT: Both server_options.model_base_path and "
    "server_options.model_config_file are empty!"
)


def process(*flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "serving.local", *flags],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )


@pytest.fixture
def local(tmp_path: Path) -> Callable[..., str]:
    """What a server prints that its flags keep from serving."""

    def said(*flags: str) -> str:
        log = tmp_path / "log"
        assert forked_server.start(flags, log).wait(DEADLINE_S) == 255
        return log.read_text()

    return said


def test_version_prints_two_lines_and_ends() -> None:
    done = process("--version")

    assert done.returncode == 0
    server, library = done.stdout.splitlines()
    assert server.startswith("TensorFlow ModelServer: 2.19")
    assert library == f"TensorFlow Library: {metadata.version('tensorflow')}"


def test_help_prints_every_flag_and_ends_as_tensorflow_serving_does(
    local: Callable[..., str],
) -> None:
    printed = local("--help")

    assert "--rest_api_timeout_in_ms=30000" in printed
    assert "--enable_profiler=true" in printed


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ((), BOTH_EMPTY),
        (
            ("--port=0", "--model_base_path=/m"),
            "INVALID_ARGUMENT: At least one of server_options.grpc_port or "
            "server_options.grpc_socket_path must be set.",
        ),
        (
            ("--model_base_path=/m", "--batching_parameters_file=/b"),
            "server_options.batching_parameters_file is set without setting "
            "server_options.enable_batching to true.",
        ),
        (
            ("--model_base_path=models/m",),
            "INVALID_ARGUMENT: Expected model default to have an absolute path or URI; "
            "got base_path()=models/m",
        ),
        (
            ("--model_config_file=/no/such/file",),
            "NOT_FOUND: /no/such/file; No such file or directory",
        ),
        (
            ("--model_path_prefix_map=x", "--model_base_path=/m"),
            "Expected --model_path_prefix_map=/models=/abs/folder",
        ),
        (("--grpc_max_threads=0", "--model_base_path=/m"), "at least 1 for --grpc_max_threads"),
        (("--port=70000", "--model_base_path=/m"), "Received: --port=70000"),
        (
            ("--bogus", "--other=1"),
            f"unknown argument: --bogus\nunknown argument: --other=1\n{BOTH_EMPTY}",
        ),
        (
            ("--enable_profiler=false",),
            f"no effect on this server: --enable_profiler\n{BOTH_EMPTY}",
        ),
    ],
)
def test_what_keeps_it_from_serving_is_said_before_tensorflow_is_imported(
    local: Callable[..., str], flags: tuple[str, ...], said: str
) -> None:
    printed = local(*flags)

    assert said in printed
    assert "Traceback" not in printed
    assert "imported" not in printed


def test_a_broken_configuration_is_said_in_tensorflow_servings_words_and_with_the_line(
    tmp_path: Path,
) -> None:
    path = tmp_path / "models.config"
    path.write_text("model_config_list {\n  nonsense: 1\n}\n")

    done = process(f"--model_config_file={path}")

    assert done.returncode == 255
    assert done.stdout == (
        f"Failed to start server. Error: INVALID_ARGUMENT: Invalid protobuf file: '{path}'\n"
    )
    assert f"{path}:2:3: Expected a ModelServerConfig" in done.stderr
    assert (
        "Error parsing text-format tensorflow.serving.ModelServerConfig: 2:11: Message type "
        '"tensorflow.serving.ModelConfigList" has no field named "nonsense".\n'
    ) in done.stderr


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--port=many", "Couldn't interpret value many for flag port."),
        (f"--port={'9' * 5000}", "99 for flag port."),
        ("--enable_batching=1", "Couldn't interpret value =1 for flag enable_batching."),
        ("--num_tflite_pools=x", "Couldn't interpret value x for flag num_tflite_pools."),
    ],
)
def test_a_value_of_the_wrong_kind_stops_it(
    local: Callable[..., str], flag: str, said: str
) -> None:
    assert said in local(flag)
