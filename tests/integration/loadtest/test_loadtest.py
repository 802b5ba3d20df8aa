"""The load test as a command, against a small real server in this process."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from loadtest import run
from serving.client.tests.model_server import ModelServer

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def server():
    server = ModelServer()
    yield server
    server.stop()


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    random = np.random.default_rng(0)
    for at in range(5):
        pixels = random.integers(0, 256, (30, 40, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{at}.png")
    return folder


@pytest.fixture
def in_folder(tmp_path, monkeypatch):
    """Where the command is run, and so where its build/ goes."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def start(server, pictures, folder, *arguments) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "loadtest.run", "--target", server.target]
    command += ["--images", str(pictures), "--users", "3", *arguments]
    return subprocess.Popen(
        command,
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def figures(folder) -> dict[str, object]:
    content = json.loads((folder / "build" / "loadtest.json").read_text())
    return {row["name"]: row["value"] for row in content["results"]}


@pytest.mark.parametrize("signature", ["serving_default", "predict_images"])
def test_a_sound_server_passes_and_leaves_page_and_figures(server, pictures, in_folder, signature):
    process = start(server, pictures, in_folder, "--duration-s", "2", "--signature", signature)
    out, talk = process.communicate(timeout=60)
    assert process.returncode == 0, talk
    loop, *paths = out.splitlines()
    assert loop.startswith("closed loop: each of 3 users waits for its answer")
    assert paths == ["build/loadtest.json", "build/loadtest.html"]
    found = figures(in_folder)
    served = [request for call, request in server.requests if call == "Predict"]
    assert found["requests"] == len(served) > 10
    assert {request.model_spec.signature_name for request in served} == {signature}
    assert {request.model_spec.version_label for request in served} == {"stable"}
    assert found["failures"] == 0
    assert 1.5 < found["duration_s"] < 10
    assert found["requests_per_s"] == pytest.approx(found["requests"] / found["duration_s"])
    assert 0 < found["p50_ms"] <= found["p95_ms"] <= found["p99_ms"] <= found["max_ms"]
    page = (in_folder / "build" / "loadtest.html").read_text()
    assert f"{found['p99_ms']:.2f}" in page
    assert "answered by version 1" in page
    assert "Partial" not in page


def test_a_server_that_dies_in_the_middle_is_counted_and_reported(server, pictures, in_folder):
    process = start(server, pictures, in_folder, "--duration-s", "3")
    enough = threading.Event()
    honest = server._Predict

    def count(request, context):
        if len(server.requests) > 30:
            enough.set()
        return honest(request, context)

    server.answers["Predict"] = count
    assert enough.wait(30)
    server.stop()
    _, talk = process.communicate(timeout=60)
    assert process.returncode == 1, talk
    found = figures(in_folder)
    assert found["failures"] > 0
    assert found["finished"] is True
    assert found["requests"] - found["failures"] >= 25
    assert "x UNAVAILABLE" in talk
    assert "UNAVAILABLE" in (in_folder / "build" / "loadtest.html").read_text()


def test_an_image_that_is_answered_as_not_valid_is_a_failure(server, pictures, in_folder):
    whole = (pictures / "0.png").read_bytes()
    (pictures / "broken.png").write_bytes(whole[: len(whole) // 2])
    process = start(server, pictures, in_folder, "--duration-s", "1")
    _, talk = process.communicate(timeout=60)
    assert process.returncode == 1, talk
    assert 0 < figures(in_folder)["failures"] < figures(in_folder)["requests"]
    assert "x INVALID_IMAGE" in talk


def test_a_generator_that_breaks_down_leaves_a_report_that_says_so(
    server, pictures, in_folder, capsys
):
    # A picture that only predict_images has to decode on this side, after the first checks.
    (pictures / "broken.png").write_bytes(b"no image")
    arguments = ["--target", server.target, "--images", str(pictures), "--duration-s", "1"]
    assert run.main([*arguments, "--signature", "predict_images"]) == 1
    assert figures(in_folder)["finished"] is False
    assert figures(in_folder)["requests"] == 0
    assert "Partial" in (in_folder / "build" / "loadtest.html").read_text()
    assert "Expected a whole JPEG, PNG, GIF, BMP file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--target", "127.0.0.1:1"], "No server answered GetModelMetadata at 127.0.0.1:1"),
        (["--target", "localhost"], "host:port"),
        (["--users", "0"], "Expected --users above 0"),
        (["--users", "-3"], "Received: users=-3"),
        (["--duration-s", "0"], "Expected --duration-s above 0"),
        (["--timeout-s", "nan"], "Expected --timeout-s above 0"),
        (["--images", "empty"], "Received: none in empty"),
        (["--images", "missing"], "which is none"),
        (["--label", "nope"], "Unrecognized servable version label: nope"),
        (["--model", "nope"], "Latest(nope)"),
    ],
    ids=" ".join,
)
def test_a_mistake_is_one_line_and_exit_code_2_and_writes_nothing(
    server, pictures, in_folder, capsys, arguments, words
):
    (in_folder / "empty").mkdir()
    if "Latest" in words:
        arguments = [*arguments, "--label", "stable"]
    assert run.main(["--target", server.target, "--images", str(pictures), *arguments]) == 2
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert line.startswith("loadtest: error: ")
    assert words in line
    assert captured.out == ""
    assert not (in_folder / "build").exists()


def test_a_version_without_the_signature_is_refused(server, pictures, in_folder, capsys):
    from tfs_client.wire import serving_pb2 as pb

    empty = pb.GetModelMetadataResponse()
    empty.metadata["signature_def"].value = pb.SignatureDefMap().SerializeToString()
    server.answers["GetModelMetadata"] = lambda request, context: empty
    assert run.main(["--target", server.target, "--images", str(pictures)]) == 2
    assert "to have the signature serving_default" in capsys.readouterr().err


@pytest.mark.parametrize("module", ["loadtest.run", "loadtest.loops.locustfile"])
def test_the_load_test_never_loads_tensorflow(module):
    script = f"import {module}, sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    roots = {name.partition(".")[0] for name in done.stdout.split()}
    assert "tfs_client" in roots
    assert not roots & {"tensorflow", "tensorflow_serving", "keras", "elpv_dataset"}
