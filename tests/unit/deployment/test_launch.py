"""What `make serve` decides before it starts anything."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import socket
import stat
from pathlib import Path

import pytest

from foundation.command_line import InputError
from serving import launch
from serving.container import engine
from serving.container.engine import Settings
from serving.models_config import All, Latest, Model, ModelsConfig, Specific
from tfs_client import contract


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "serving").mkdir()
    (tmp_path / "serving" / "models.config").write_text("")
    (tmp_path / "serving" / "monitoring.config").write_text("")
    (tmp_path / "models").mkdir()
    return Settings(
        grpc_port=18500,
        rest_port=18501,
        models=tmp_path / "models",
        config=tmp_path / "serving" / "models.config",
    )


def serving(policy: object, labels: dict[str, int] | None = None) -> ModelsConfig:
    model = Model(name="m", base_path="/models/m", policy=policy, labels=labels or {})  # type: ignore[arg-type]
    return ModelsConfig(models=(model,))


def program(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def only_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the whole search path."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return folder


def test_the_local_server_gets_the_same_flags_and_the_real_folder(settings: Settings) -> None:
    command = engine.local_command(settings, "asked for")

    assert command.argv[1:3] == ["-m", "serving.local"]
    assert "--port=18500" in command.argv
    assert "--rest_api_port=18501" in command.argv
    assert f"--model_path_prefix_map=/models={settings.models}" in command.argv
    assert set(engine.server_flags(settings, str(settings.config))) <= set(command.argv)


def test_the_container_gets_read_only_mounts_an_init_and_tensorflow_servings_flags(
    settings: Settings,
) -> None:
    argv = list(engine.container_command(settings, "docker", False, "").argv)

    assert argv[:4] == ["docker", "run", "--rm", "--init"]
    assert "--publish=18500:8500" in argv
    assert "--publish=18501:8501" in argv
    assert f"--volume={settings.models}:/models:ro" in argv
    assert f"--volume={settings.config.parent}:/etc/tensorflow_serving:ro" in argv
    image = argv.index("tensorflow/serving:2.19.1")
    flags = argv[image + 1 :]
    assert "--model_config_file=/etc/tensorflow_serving/models.config" in flags
    assert "--allow_version_labels_for_unavailable_models=true" in flags
    assert "--enable_profiler=false" in flags
    assert "--enable_grpc_healthcheck_service=true" in flags
    assert "--grpc_max_threads=128" in flags
    assert "--monitoring_config_file=/etc/tensorflow_serving/monitoring.config" in flags
    assert not [argument for argument in argv if "gpu" in argument.lower()]


@pytest.mark.parametrize(
    ("name", "device"), [("docker", "--gpus=all"), ("podman", "--device=nvidia.com/gpu=all")]
)
def test_a_visible_gpu_is_given_to_the_gpu_image(
    settings: Settings, name: str, device: str
) -> None:
    argv = engine.container_command(settings, name, True, "").argv

    assert "tensorflow/serving:2.19.1-gpu" in argv
    assert device in argv
    assert "--env=TF_FORCE_GPU_ALLOW_GROWTH=true" in argv


def test_batching_is_on_only_where_it_is_configured(settings: Settings) -> None:
    assert not [f for f in engine.server_flags(settings, "/c/models.config") if "batching" in f]

    (settings.config.parent / "batching.config").write_text("")

    flags = engine.server_flags(settings, "/c/models.config")
    assert "--enable_batching=true" in flags
    assert "--batching_parameters_file=/c/batching.config" in flags


def test_without_an_engine_the_local_server_runs_and_says_why(
    settings: Settings, only_path: Path
) -> None:
    command = engine.choose("auto", settings)

    assert command.kind == "local"
    assert command.reason == "no container engine answers: docker not found, podman not found"


def test_an_engine_that_does_not_answer_is_passed_over(settings: Settings, only_path: Path) -> None:
    program(only_path, "docker", "exit 1")

    command = engine.choose("auto", settings)

    assert command.kind == "local"
    assert "docker is not running" in command.reason


def test_an_image_that_cannot_be_had_leaves_the_local_server(
    settings: Settings, only_path: Path
) -> None:
    program(only_path, "docker", 'test "$1" = info')

    command = engine.choose("auto", settings)

    assert command.kind == "local"
    assert "tensorflow/serving:2.19.1 is not there and cannot be pulled" in command.reason


def test_an_engine_with_the_image_runs_the_container(settings: Settings, only_path: Path) -> None:
    program(only_path, "podman", "exit 0")

    command = engine.choose("auto", settings)

    assert command.kind == "container"
    assert command.reason == (
        "podman answers, tensorflow/serving:2.19.1, no GPU visible, batching off"
    )


def test_a_gpu_that_is_visible_picks_the_gpu_image(settings: Settings, only_path: Path) -> None:
    program(only_path, "docker", "exit 0")
    program(only_path, "nvidia-smi", "exit 0")

    assert "tensorflow/serving:2.19.1-gpu" in engine.choose("auto", settings).argv


def test_hidden_gpus_count_as_none(
    settings: Settings, only_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(only_path, "docker", "exit 0")
    program(only_path, "nvidia-smi", "exit 0")
    monkeypatch.setitem(os.environ, "CUDA_VISIBLE_DEVICES", "-1")

    assert "tensorflow/serving:2.19.1" in engine.choose("auto", settings).argv


def test_a_container_that_was_asked_for_is_not_replaced_in_silence(
    settings: Settings, only_path: Path
) -> None:
    with pytest.raises(InputError, match=r"Expected a container engine .* --server local"):
        engine.choose("container", settings)


@pytest.mark.parametrize(
    ("policy", "wanted"),
    [(Specific((1, 2)), "version 2"), (Latest(1), "a version"), (All(), "a version")],
)
def test_a_version_that_is_not_there_is_named_with_what_to_do(
    tmp_path: Path, policy: object, wanted: str
) -> None:
    if isinstance(policy, Specific):
        (tmp_path / "m" / "1").mkdir(parents=True)

    with pytest.raises(InputError) as refused:
        launch.check_versions(serving(policy), tmp_path)

    assert str(refused.value) == (
        f"Expected {wanted} of m under {tmp_path}/m/. Received: no such folder. "
        "Export one first: make train export"
    )


def test_versions_with_leading_zeros_count(tmp_path: Path) -> None:
    (tmp_path / "m" / "0001").mkdir(parents=True)

    launch.check_versions(serving(Specific((1,)), {"stable": 1}), tmp_path)  # raises nothing
    (tmp_path / "m" / "0001").rmdir()
    with pytest.raises(InputError, match="no such folder"):
        launch.check_versions(serving(Specific((1,)), {"stable": 1}), tmp_path)


def test_a_label_on_a_version_that_is_not_listed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)

    with pytest.raises(InputError, match="Expected label canary of m on a version that is served"):
        launch.check_versions(serving(Specific((1,)), {"canary": 2}), tmp_path)


def test_an_empty_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least one model"):
        launch.check_versions(ModelsConfig(), tmp_path)


def test_a_model_outside_of_the_store_is_refused(tmp_path: Path) -> None:
    model = Model(name="m", base_path="/elsewhere/m")

    with pytest.raises(InputError, match="under /models/, where the store is mounted"):
        launch.check_versions(ModelsConfig(models=(model,)), tmp_path)


@pytest.mark.parametrize("flag", ["--grpc-port", "--rest-port"])
def test_a_port_in_use_is_named_with_what_to_do(flag: str) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        socket.create_server(("127.0.0.1", 0)) as other,
    ):
        port, free = taken.getsockname()[1], other.getsockname()[1]
        other.close()
        ports = (port, free) if flag == "--grpc-port" else (free, port)

        with pytest.raises(InputError) as refused:
            launch.check_ports(Settings(grpc_port=ports[0], rest_port=ports[1]))

    assert f"Expected port {port} to be free. Received: Address already in use." in str(
        refused.value
    )
    assert f"choose another port with {flag}" in str(refused.value)


def test_one_port_for_both_is_refused() -> None:
    with pytest.raises(InputError, match="Expected two ports"):
        launch.check_ports(Settings(grpc_port=8500, rest_port=8500))


@pytest.fixture
def runs(settings: Settings, tmp_path: Path) -> Path:
    """Runs "old" and "new", with samples; versions 1 and 2 hold them, version 3 says nothing."""
    for version, name in ((1, "old"), (2, "new"), (3, None)):
        card = settings.models / contract.MODEL_NAME / str(version) / contract.MODEL_CARD
        card.parent.mkdir(parents=True)
        card.write_text(json.dumps({"run": name} if name else []))
        if name:
            samples = tmp_path / "my runs" / name / "samples"
            samples.mkdir(parents=True)
            for picture in ("sound.png", "defective.png"):
                (samples / picture).write_bytes(b"")
            for foreign in (".DS_Store", "._a.png", "a.txt", "b.png~"):
                (samples / foreign).write_bytes(b"")
            (samples / "a.png").mkdir()
    (tmp_path / "my runs" / "latest").symlink_to("new")
    return tmp_path / "my runs"


def classifier(policy: object, labels: dict[str, int] | None = None) -> ModelsConfig:
    name = contract.MODEL_NAME
    model = Model(name=name, base_path=f"/models/{name}", policy=policy, labels=labels or {})  # type: ignore[arg-type]
    return ModelsConfig(models=(*serving(Latest(1)).models, model))


def first_try(settings: Settings, config: ModelsConfig, runs: Path) -> str:
    (line,) = (one for one in launch.banner(settings, config, runs).splitlines() if "Try" in one)
    return line.removeprefix("  Try it:  ")


def test_the_banner_shows_ports_versions_and_labels(settings: Settings) -> None:
    config = serving(Specific((1, 2)), {"stable": 1, "canary": 2})
    shown = launch.banner(settings, config)
    assert "localhost:18500" in shown
    assert "http://localhost:18501/v1/models/m" in shown
    assert "page   http://localhost:18501/try" in shown
    assert "m: versions 1, 2 (stable → 1, canary → 2)" in shown


@pytest.mark.parametrize(
    ("policy", "labels", "run"),
    [
        (Specific((1, 2)), {"stable": 1, "canary": 2}, "old"),
        (Specific((1, 2)), {"stable": 2}, "new"),
        (Specific((1,)), None, "old"),
        (Specific((1, 2)), None, "new"),
    ],
)
def test_the_banner_offers_a_sample_of_the_version_that_is_asked(
    policy: object, labels: dict[str, int] | None, run: str, settings: Settings, runs: Path
) -> None:
    usual = dataclasses.replace(settings, grpc_port=contract.GRPC_PORT)
    command = shlex.split(first_try(usual, classifier(policy, labels), runs))
    assert command == ["make", "predict", f"IMAGE={runs / run / 'samples' / 'defective.png'}"]


def test_the_banner_names_the_target_where_the_port_is_not_the_usual_one(
    settings: Settings, runs: Path
) -> None:
    line = first_try(settings, classifier(Specific((1,))), runs)
    assert line.startswith("make predict IMAGE=")
    assert line.endswith(" TARGET=localhost:18500")
    assert first_try(settings, serving(Latest(1)), runs) == (
        ".venv/bin/tfs metadata --model m --target localhost:18500"
    )


@pytest.mark.parametrize("config", [classifier(Latest(1)), classifier(Specific((9,)))])
def test_the_banner_asks_for_an_image_where_the_run_is_not_known(
    config: ModelsConfig, settings: Settings, runs: Path
) -> None:
    assert first_try(settings, config, runs) == (
        "make predict IMAGE=path/to/image.png TARGET=localhost:18500"
    )


def test_the_banner_says_that_a_container_has_no_page(settings: Settings) -> None:
    shown = launch.banner(settings, serving(Latest(1)), kind="container")

    assert "page   none: TensorFlow Serving has none; --server local has one" in shown
    assert "18501/try" not in shown
