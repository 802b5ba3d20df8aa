"""The closed loop as a command: Locust's users against a small real server in this process."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme

from foundation.pages import numbers
from loadtest import run
from serving.client.tests.model_server import ModelServer
from tests.integration.loadtest import commands
from tests.integration.loadtest.commands import ROOT, Done, once, wait_for
from tfs_client import contract

Load = Callable[..., Done]


@pytest.fixture
def load(server: ModelServer, pictures: Path, tmp_path: Path) -> Load:
    """Runs `loadtest.run` with three users against the server, with more flags."""

    def run_it(*flags: str) -> Done:
        where = ("--target", server.target, "--images", str(pictures), "--users", "3")
        return commands.run(run.main, *where, *flags, folder=tmp_path)

    return run_it


def test_a_sound_server_passes_over_tls_and_leaves_page_and_figures(
    pictures: Path, tmp_path: Path
) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(tmp_path / "roots.pem")
    pair = (issued.private_key_pem.bytes(), issued.cert_chain_pems[0].bytes())
    server = ModelServer(host="localhost", credentials=grpc.ssl_server_credentials([pair]))
    where = ("--target", server.target, "--images", str(pictures), "--users", "3")
    both = ("--signature", "serving_default,predict_images")
    try:
        known = ("--tls-roots", "roots.pem", "--duration-s", "1")
        done = commands.run(run.main, *where, *both, *known, folder=tmp_path)
        plain = commands.run(run.main, *where, *both, "--timeout-s", "0.5", folder=tmp_path)
    finally:
        server.stop()
    assert done.code == 0, done.told
    loop, *paths = done.out.splitlines()
    assert loop.startswith("closed loop: each of 3 users waits for its answer")
    assert paths == ["build/loadtest.json", "build/loadtest.html"]
    found, served = done.figures, server.asked("Predict")
    assert found["requests"] == len(served) > 10
    assert {request.signature for request in served} == {
        "serving_default",
        "predict_images",
    }
    assert {request.label for request in served} == {"stable"}
    assert found["failures"] == 0
    assert 0.8 < found["duration_s"] < 10
    assert found["requests_per_s"] == pytest.approx(found["requests"] / found["duration_s"])
    assert 0 < found["p50_ms"] <= found["p95_ms"] <= found["p99_ms"] <= found["max_ms"]
    assert numbers.amount(found["p99_ms"], "ms") in done.page
    assert "answered by version 1" in done.page
    assert "Partial" not in done.page

    assert plain.code == 2, "without the authority"
    (line,) = plain.told.splitlines()
    assert line.startswith("python -m loadtest.run: error: ")


def test_a_server_that_dies_in_the_middle_is_counted_and_reported(
    server: ModelServer, load: Load
) -> None:
    with once(lambda: len(server.requests) > 40, "requests", server.stop):
        done = load("--duration-s", "1.5")
    assert done.code == 1, done.told
    found = done.figures
    assert found["failures"] > 0
    assert found["finished"] is True
    assert found["requests"] - found["failures"] >= 25
    assert "x UNAVAILABLE" in done.told
    assert "UNAVAILABLE" in done.page


def test_an_answer_that_changes_or_is_not_valid_is_a_failure(
    server: ModelServer, pictures: Path, tmp_path: Path
) -> None:
    own = shutil.copytree(pictures, tmp_path / "pictures")
    whole = (own / "0.png").read_bytes()
    (own / "broken.png").write_bytes(whole[: len(whole) // 2])
    honest = server.usual("Predict")

    def fickle(request: Any, context: Any) -> Any:
        answer = honest(request, context)
        if (
            len(server.requests) > 40
            and answer.outputs[contract.OUTPUT_VALID].tensor_content != b"\x00"
        ):
            answer.outputs[contract.OUTPUT_PROBABILITY].float_val[:] = [0.7]
            answer.outputs[contract.OUTPUT_PROBABILITY].ClearField("tensor_content")
        return answer

    server.handlers["Predict"] = fickle
    where = ("--target", server.target, "--images", str(own), "--users", "3")
    done = commands.run(run.main, *where, "--duration-s", "1", folder=tmp_path)
    assert done.code == 1, done.told
    assert "x INVALID_IMAGE" in done.told
    assert "x WRONG_ANSWER: version 1 says defective 0.7000" in done.told
    assert 0 < done.figures["failures"] < done.figures["requests"]


def test_ctrl_c_keeps_what_there_is_and_marks_it_as_partial(
    server: ModelServer, pictures: Path, tmp_path: Path
) -> None:
    where = ("--target", server.target, "--images", str(pictures))
    flags = ("--users", "2", "--duration-s", "60")
    process = commands.start("loadtest.run", *where, *flags, folder=tmp_path)
    wait_for(lambda: len(server.asked("Predict")) > 60, "requests")
    process.send_signal(signal.SIGINT)
    out, talk = process.communicate(timeout=60)
    done = Done(code=process.returncode, out=out, told=talk, folder=tmp_path)
    assert done.code == 130, talk
    assert done.figures["requests"] >= 55
    assert done.figures["failures"] == 0
    assert done.figures["finished"] is False
    assert done.recording["partial"] == ["interrupted"]
    assert "Partial: interrupted" in done.page


def test_a_generator_that_breaks_down_leaves_a_report_that_says_so(
    server: ModelServer, pictures: Path, tmp_path: Path
) -> None:
    # A picture that only predict_images has to decode on this side, after the first checks.
    own = shutil.copytree(pictures, tmp_path / "pictures")
    (own / "broken.png").write_bytes(b"no image")
    where = ("--target", server.target, "--images", str(own), "--duration-s", "1")
    done = commands.run(run.main, *where, "--signature", "predict_images", folder=tmp_path)
    assert done.code == 1
    assert done.figures["finished"] is False
    assert done.figures["requests"] == 0
    assert "Partial" in done.page
    assert "Expected a whole JPEG, PNG, GIF, BMP file" in done.told


@pytest.mark.thorough
def test_users_that_think_ask_less(load: Load) -> None:
    done = load("--users", "2", "--think-time", "0.4-0.6", "--duration-s", "2")
    assert done.code == 0, done.told
    # Two users, a request every half second each, for two seconds and a little.
    assert 4 <= done.figures["requests"] <= 18
    assert "thinks for 0.4-0.6 s and asks again" in done.out


def test_the_load_test_never_loads_tensorflow() -> None:
    script = "import loadtest.loops.locustfile, loadtest.run, sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    roots = {name.partition(".")[0] for name in done.stdout.split()}
    assert "tfs_client" in roots
    assert not roots & {"tensorflow", "tensorflow_serving", "keras", "elpv_dataset"}
