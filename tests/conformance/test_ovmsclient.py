"""ovmsclient, a client of others, gets from the local server what it gets from the real one.

It brings generated code under TensorFlow's names, so it lives in an environment of its own, which
is made here from the package index; the tests are skipped where that cannot be reached.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.local import LocalServer
from tests.conftest import made_once

REQUIREMENT = "ovmsclient==2023.1"
INSTALL_S = 120
NEEDS_INDEX = "needs a package index: set UV_INDEX_URL to one that answers"
CALLS_S = 60

Found = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def its_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that has ovmsclient."""
    uv = str(Path(sys.executable).with_name("uv"))

    def make(folder: Path) -> None:
        python = ["--python", str(folder / "bin" / "python")]
        for command in (
            [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)],
            [uv, "pip", "install", "--quiet", *python, REQUIREMENT],
        ):
            try:
                done = subprocess.run(
                    command, capture_output=True, text=True, timeout=INSTALL_S, check=False
                )
            except subprocess.TimeoutExpired:
                pytest.skip(NEEDS_INDEX)
            if done.returncode:
                print(done.stderr)
                pytest.skip(NEEDS_INDEX)

    return made_once(tmp_path_factory, "ovmsclient", make) / "bin" / "python"


@pytest.fixture(scope="module")
def found(its_python: Path, default_server: LocalServer) -> Found:
    """Protocol → call → outcome."""
    addresses = [f"localhost:{default_server.ports[name]}" for name in ("grpc", "rest")]
    script = Path(__file__).with_name("ovmsclient_calls.py")
    done = subprocess.run(
        [str(its_python), str(script), *addresses],
        capture_output=True,
        text=True,
        timeout=CALLS_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


protocols = pytest.mark.parametrize("protocol", ["grpc", "rest"])


@protocols
def test_a_right_version_answers(found: Found, protocol: str) -> None:
    assert found[protocol]["predict 1"] == [3.0, 4.0]
    assert found[protocol]["predict 2"] == [4.0, 5.0]
    assert found[protocol]["predict many"] == {"total": [10.0], "parity": [True], "name": ["4"]}


@protocols
@pytest.mark.parametrize(
    ("call", "text"),
    [
        ("predict", "Servable not found for request: Specific(affine, 0)"),
        ("predict another model", "Servable not found for request: Specific(nope, 1)"),
        ("status", "Could not find version 0 of model affine"),
        ("metadata", "Servable not found for request: Specific(affine, 0)"),
    ],
)
def test_no_version_is_version_0_and_not_found(
    found: Found, protocol: str, call: str, text: str
) -> None:
    refusal = found[protocol][call]

    assert refusal["error"] == "ModelNotFoundError"
    assert refusal["text"].endswith(text)


@protocols
def test_another_input_is_an_invalid_input(found: Found, protocol: str) -> None:
    assert found[protocol]["predict another input"]["error"] == "InvalidInputError"


@protocols
def test_the_status_of_a_version_is_read(found: Found, protocol: str) -> None:
    fine = {"state": "AVAILABLE", "error_code": 0, "error_message": ""}
    assert found[protocol]["status 2"] == {"2": fine}


def test_the_metadata_of_a_version_is_read(found: Found) -> None:
    assert found["grpc"]["metadata 2"] == {
        "model_version": 2,
        "inputs": {"x": {"shape": [-1], "dtype": "DT_FLOAT"}},
        "outputs": {"y": {"shape": [-1], "dtype": "DT_FLOAT"}},
    }
    signatures = found["rest"]["metadata 2"]["metadata"]["signature_def"]["signature_def"]
    assert signatures["serving_default"]["inputs"]["x"]["dtype"] == "DT_FLOAT"
