"""`make serve` and the local server's command line, as processes."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from serving import launch
from serving.local import main as local_server
from tests.integration.local_server_fixtures import (
    DEADLINE_S,
    ROOT,
    environment,
    eventually,
    line_config,
    save_line,
)
from tfs_client.protocol import messages as serving_pb2


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """models/line/1 and a models.config that serves it as stable."""
    folder = tmp_path_factory.mktemp("serve")
    save_line(folder / "models" / "line" / "1", 1.0)
    (folder / "models.config").write_text(line_config("specific { versions: 1 }", {"stable": 1}))
    shutil.copy(ROOT / "serving" / "monitoring.config", folder)
    return folder


@pytest.fixture
def two_ports() -> tuple[int, int]:
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as two,
    ):
        return one.getsockname()[1], two.getsockname()[1]


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("0.0.0.0", 0)) as taken:
        yield taken.getsockname()[1]


def launch_flags(place: Path, ports: tuple[int, int], server: str = "local") -> list[str]:
    return [
        *("--server", server, "--grpc-port", str(ports[0]), "--rest-port", str(ports[1])),
        *("--models", str(place / "models"), "--config", str(place / "models.config")),
    ]


def launch_command(place: Path, ports: tuple[int, int], server: str = "local") -> list[str]:
    return [sys.executable, "-m", "serving.launch", *launch_flags(place, ports, server)]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=DEADLINE_S
    )


def predict(port: int) -> serving_pb2.PredictResponse:
    request = serving_pb2.PredictRequest()
    request.model_spec.name = "line"
    request.model_spec.version_label = "stable"
    request.inputs["x"].dtype = serving_pb2.DT_FLOAT
    request.inputs["x"].tensor_shape.dim.add(size=1)
    request.inputs["x"].float_val.append(2.0)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        return channel.unary_unary(
            "/tensorflow.serving.PredictionService/Predict",
            request_serializer=serving_pb2.PredictRequest.SerializeToString,
            response_deserializer=serving_pb2.PredictResponse.FromString,
        )(request, timeout=10)


def test_serve_says_which_server_shows_the_banner_answers_and_stops(
    place: Path, two_ports: tuple[int, int], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with out.open("w") as stream:
        process = subprocess.Popen(
            launch_command(place, two_ports),
            cwd=ROOT,
            env=environment(),
            stdout=stream,
            stderr=stream,
        )
    try:
        eventually(
            lambda: "Stop it: Ctrl-C" in out.read_text() or process.poll() is not None,
            "the banner",
            DEADLINE_S,
        )
        shown = out.read_text()
        assert "server=local (asked for)" in shown
        assert f"localhost:{two_ports[0]}" in shown
        assert "line: version 1 (stable → 1)" in shown
        assert f".venv/bin/tfs metadata --model line --target localhost:{two_ports[0]}\n" in shown
        assert "cudart" not in shown
        assert list(predict(two_ports[0]).outputs["y"].float_val) == [2.0]
        address = f"http://localhost:{two_ports[1]}/try"
        assert f"page   {address}\n" in shown
        with urllib.request.urlopen(address, timeout=10) as tried:
            assert b"<title>Try the served models</title>" in tried.read()
        page = f"http://localhost:{two_ports[1]}/monitoring/prometheus/metrics"
        with urllib.request.urlopen(page, timeout=10) as metrics:
            counted = b':tensorflow:serving:request_count{model_name="line",status="OK"} 1\n'
            assert counted in metrics.read()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 130
        for port in two_ports:
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), timeout=5).close()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def test_serve_before_export_is_one_line_and_exit_code_2(
    tmp_path: Path, two_ports: tuple[int, int], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "models.config").write_text(line_config("specific { versions: 1 }", {"stable": 1}))

    assert launch.main(launch_flags(tmp_path, two_ports)) == 2
    assert capsys.readouterr().err == (
        f"python -m serving.launch: error: Expected version 1 of line under "
        f"{tmp_path}/models/line/. Received: no such folder. Export one first: make train export\n"
    )


def test_serve_on_a_port_in_use_is_one_line_and_exit_code_2(
    place: Path, taken_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert launch.main(launch_flags(place, (taken_port, taken_port + 1))) == 2

    (line,) = capsys.readouterr().err.splitlines()
    assert f"Expected port {taken_port} to be free" in line


def test_serve_with_a_broken_configuration_is_one_line_and_exit_code_2(
    tmp_path: Path, two_ports: tuple[int, int], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "models.config").write_text("model_config_list {\n  nonsense: 1\n}\n")

    assert launch.main(launch_flags(tmp_path, two_ports)) == 2

    (line,) = capsys.readouterr().err.splitlines()
    assert "models.config:2:3: Expected" in line


NOT_LOADED = (
    "Failed to start server. Error: UNKNOWN: 1 servable(s) did not become available: "
    "{{{name: line version: 1} due to error: "
)


def with_a_broken_model(place: Path, folder: Path) -> Path:
    shutil.copytree(place / "models", folder / "models")
    shutil.rmtree(folder / "models" / "line" / "1" / "variables")
    (folder / "models.config").write_text(line_config("specific { versions: 1 }"))
    return folder


def test_serve_passes_on_that_a_model_cannot_be_loaded(
    place: Path, tmp_path: Path, two_ports: tuple[int, int], capfd: pytest.CaptureFixture[str]
) -> None:
    broken = with_a_broken_model(place, tmp_path)
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    assert launch.main(launch_flags(broken, two_ports)) == 2

    said = capfd.readouterr()
    assert NOT_LOADED in said.out
    assert "the server ended by itself, exit code 255" in said.err
    assert "Traceback" not in said.err
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers


@pytest.mark.thorough
def test_the_local_server_ends_with_the_reason_where_a_model_cannot_be_loaded(
    place: Path, tmp_path: Path
) -> None:
    broken = with_a_broken_model(place, tmp_path)

    done = run(
        *(sys.executable, "-m", "serving.local", "--port=0", "--max_num_load_retries=0"),
        f"--port_file={tmp_path / 'ports.json'}",
        f"--model_config_file={broken / 'models.config'}",
        f"--model_path_prefix_map=/models={broken / 'models'}",
    )

    assert done.returncode == 255
    assert done.stdout.startswith(NOT_LOADED)
    assert "Traceback" not in done.stderr


@pytest.mark.thorough
def test_serve_passes_on_that_the_server_cannot_read_a_file(
    place: Path, tmp_path: Path, two_ports: tuple[int, int]
) -> None:
    shutil.copytree(place, tmp_path / "place")
    (tmp_path / "place" / "monitoring.config").write_text("nonsense")

    done = run(*launch_command(tmp_path / "place", two_ports))

    assert done.returncode == 2
    assert (
        "Failed to start server. Error: INVALID_ARGUMENT: Invalid protobuf file: '" in done.stdout
    )


def test_the_local_server_runs_under_tensorflow_servings_name(
    place: Path, tmp_path: Path, two_ports: tuple[int, int]
) -> None:
    program = tmp_path / "bin" / "tensorflow_model_server"
    program.parent.mkdir()
    program.symlink_to(ROOT / "serving" / "tensorflow_model_server")
    (tmp_path / "models.config").write_text(
        f'model_config_list {{ config {{ name: "line" base_path: "{place}/models/line" '
        'model_platform: "tensorflow" } }'
    )
    out = tmp_path / "out"
    # As a script has it: found by its name, in another folder, with a relative path.
    with out.open("w") as stream:
        process = subprocess.Popen(
            [
                *("tensorflow_model_server", f"--port={two_ports[0]}"),
                *(f"--rest_api_port={two_ports[1]}", "--model_config_file=models.config"),
            ],
            cwd=tmp_path,
            env={
                **environment(),
                "PATH": f"{program.parent}:{os.environ['PATH']}",
                "PYTHON": sys.executable,
            },
            stdout=stream,
            stderr=stream,
        )
    try:
        eventually(
            lambda: "listening" in out.read_text() or process.poll() is not None,
            "ports",
            DEADLINE_S,
        )
        url = f"http://localhost:{two_ports[1]}/v1/models/line"
        with urllib.request.urlopen(url, timeout=10) as status:
            assert b"AVAILABLE" in status.read()
    finally:
        process.terminate()
        assert process.wait(timeout=20) == 0


@pytest.mark.parametrize("flag", ["--port", "--rest_api_port"])
def test_the_local_server_refuses_a_port_in_use_at_once(
    place: Path,
    taken_port: int,
    two_ports: tuple[int, int],
    flag: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # The other port is not to be in somebody else's use either.
    other = f"{'--port' if flag == '--rest_api_port' else '--rest_api_port'}={two_ports[0]}"
    config = f"--model_config_file={place / 'models.config'}"

    assert local_server.main([config, other, f"{flag}={taken_port}"]) == 255

    assert f"Expected a free port. Received: {flag}={taken_port}" in capsys.readouterr().out


def _engine() -> str | None:
    for name in ("docker", "podman"):
        if (
            shutil.which(name)
            and subprocess.run([name, "info"], capture_output=True).returncode == 0
        ):
            return name
    return None


def test_serve_runs_the_container_where_an_engine_has_the_image(
    place: Path, two_ports: tuple[int, int], tmp_path: Path
) -> None:
    engine = _engine()
    if engine is None:
        pytest.skip("needs a container engine: apt-get install docker.io")
    image = "tensorflow/serving:2.19.1"
    if subprocess.run([engine, "image", "inspect", image], capture_output=True).returncode:
        pytest.skip(f"needs the image {image}: {engine} pull {image}")
    out = tmp_path / "out"
    with out.open("w") as stream:
        process = subprocess.Popen(
            launch_command(place, two_ports, "container"),
            cwd=ROOT,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
            stdout=stream,
            stderr=stream,
        )
    try:
        eventually(
            lambda: "Stop it: Ctrl-C" in out.read_text() or process.poll() is not None,
            "the banner",
            DEADLINE_S,
        )
        assert f"server=container ({engine} answers, {image}" in out.read_text()
        assert list(predict(two_ports[0]).outputs["y"].float_val) == [2.0]
        process.terminate()
        assert process.wait(timeout=20) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
