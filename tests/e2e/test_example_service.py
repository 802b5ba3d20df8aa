"""examples/service, installed as its page says, in front of what `make serve` starts."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, made_once
from tests.ports import free_port

pytestmark = pytest.mark.thorough

UV = str(Path(sys.executable).with_name("uv"))
COMMANDS = re.findall(r"^\$ (.*)$", (ROOT / "examples" / "README.md").read_text(), re.MULTILINE)
INSTALL_S = 240


def command(word: str) -> list[str]:
    """The words of the page's command that begins with this one."""
    (line,) = [line for line in COMMANDS if line.startswith(word)]
    return shlex.split(line)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts of an environment with the service's requirements and the client alone."""

    def make(folder: Path) -> None:
        subprocess.run(
            [UV, "venv", "--quiet", f"--python={sys.executable}", str(folder)], check=True
        )
        install = [UV, *command("pip install"), "--quiet", f"--python={folder / 'bin' / 'python'}"]
        done = subprocess.run(
            install, cwd=ROOT, capture_output=True, text=True, timeout=INSTALL_S, check=False
        )
        if done.returncode:
            pytest.skip(f"the service's packages cannot be had: {done.stderr.strip()[-300:]}")

    return made_once(tmp_path_factory, "example-service", make) / "bin"


@contextlib.contextmanager
def running(environment: Path, **variables: str) -> Iterator[str]:
    """Runs the page's command on a free port: its URL."""
    port = str(free_port())
    program, *words = command("uvicorn ")
    with subprocess.Popen(
        [str(environment / program), *(port if word == "8080" else word for word in words)],
        cwd=ROOT,
        env={**os.environ, **variables},
        stderr=subprocess.PIPE,
        text=True,
    ) as service:
        url = f"http://localhost:{port}"
        try:
            deadline = time.monotonic() + 30
            while fetch(f"{url}/livez")[0] != 200:
                assert service.poll() is None, service.stderr.read()
                assert time.monotonic() < deadline
                time.sleep(0.1)
            yield url
        finally:
            service.terminate()
            talk = service.communicate(timeout=30)[1]
    assert service.returncode in (0, -15), talk
    assert "Application shutdown complete" in talk
    assert "Traceback" not in talk


def fetch(url: str, body: bytes | None = None, **headers: str) -> tuple[int, dict, dict]:
    """A request: HTTP status (0: nothing listens), the JSON of its answer, its headers."""
    request = urllib.request.Request(url, data=body, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.load(answer), dict(answer.headers)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error), dict(error.headers)
    except urllib.error.URLError:
        return 0, {}, {}


@pytest.fixture(scope="module")
def service(environment: Path, served: tuple) -> Iterator[str]:
    """The service in front of a server that answers for "stable" alone; asked for the canary."""
    with running(environment, TFS_TARGET=served[0], TFS_LABEL="canary") as url:
        yield url


@pytest.fixture(scope="module")
def picture(sample_run: Path) -> bytes:
    return (sample_run / "samples" / "sound.png").read_bytes()


def test_a_picture_is_answered_by_the_fallback_with_the_callers_id(service, picture):
    status, answer, _ = fetch(f"{service}/classify", picture, **{"X-Request-ID": "order-17"})

    assert status == 200
    assert answer["label"] in ("sound", "defective")
    assert 0 <= answer["probability"] <= 1
    assert (answer["request_id"], answer["model_version"]) == ("order-17", 1)
    assert answer["answered_by"] == "image_classifier/labels/stable"


def test_an_id_that_is_none_is_replaced(service, picture):
    headers = {"X-Request-ID": "a b\tc"}
    _, answer, _ = fetch(f"{service}/classify", picture, **headers)
    assert re.fullmatch("[0-9a-f]{32}", answer["request_id"])


def test_what_is_no_picture_is_the_callers_mistake(service):
    status, answer, _ = fetch(f"{service}/classify", b"<html>an error page</html>")

    assert (status, answer["error"]) == (422, "ImageError")
    assert answer["detail"] == "Not a picture of a format that is taken: JPEG, PNG, GIF or BMP."


def test_a_body_that_is_too_large_is_not_read_to_its_end(service):
    status, _, _ = fetch(f"{service}/classify", bytes(21 * 2**20))
    assert status == 413


def test_it_is_ready_where_its_label_is_served(service, environment, served):
    assert fetch(f"{service}/readyz")[0] == 503  # no version has the label canary
    with running(environment, TFS_TARGET=served[0]) as stable:
        assert fetch(f"{stable}/readyz")[:2] == (200, {"status": "ready", "model_version": 1})


def test_without_a_model_server_a_person_decides_or_it_is_an_error(environment, picture):
    nobody = f"localhost:{free_port()}"
    with running(environment, TFS_TARGET=nobody) as url:
        status, answer, _ = fetch(f"{url}/classify", picture)
        assert (status, answer["answered_by"]) == (200, "default")
        assert (answer["needs_review"], answer["probability"]) == (True, None)
        assert fetch(f"{url}/readyz")[0] == 503
    with running(environment, TFS_TARGET=nobody, TFS_DEFAULT="0") as url:
        status, answer, headers = fetch(f"{url}/classify", picture)
        assert (status, answer["error"], headers["retry-after"]) == (503, "RefusedError", "1")
        assert answer["detail"] == "The model cannot be reached; try again later."
        assert "localhost" not in json.dumps(answer)  # addresses stay in the log


def test_curl_asks_as_the_page_says(service, picture, tmp_path):
    (tmp_path / "picture.png").write_bytes(picture)
    words = [word.replace("localhost:8080", service) for word in command("curl ")]

    try:
        done = subprocess.run(
            words, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
    except FileNotFoundError:
        pytest.skip("curl is not installed")

    assert json.loads(done.stdout)["request_id"] == "order-17"
