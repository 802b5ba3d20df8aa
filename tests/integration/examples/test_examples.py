"""The commands of examples/README.md, against a real gRPC server with two versions of a model."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from PIL import Image

from serving.client.tests.model_server import ModelServer
from tests.conftest import ROOT
from tfs_client import contract
from tfs_client.wire import serving_pb2 as pb, tensors

README = (ROOT / "examples" / "README.md").read_text()
CLASSES = ("sound", "defective")
PICTURES = 240


@pytest.fixture
def server() -> Iterator[ModelServer]:
    server = ModelServer()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of dark pictures (sound) and bright ones (defective), 8x8 pixels, in PNG files."""
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(5)
    for number in range(PICTURES):
        kind = number % 2
        pixels = random.integers(128 * kind, 128 * kind + 100, (8, 8, 3), np.uint8)
        path = folder / CLASSES[kind] / f"{number:03}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(path)
    return folder


@pytest.fixture
def start(server: ModelServer, pictures: Path, tmp_path: Path) -> Callable[..., subprocess.Popen]:
    """Starts the page's command that has a word in it, with the test's server and pictures."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")

    def start(word: str, *more: str) -> subprocess.Popen[str]:
        (line,) = [line for line in commands() if word in line]
        instead = {"PICTURES": str(pictures), "localhost:8500": server.target}
        program, *words = [instead.get(one, one) for one in shlex.split(line)]
        return subprocess.Popen(
            [str(Path(sys.executable).with_name(program)), *words, *more],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.fixture
def example(start: Callable[..., subprocess.Popen]) -> Callable[..., str]:
    """Runs such a command to its end, and returns what it prints."""

    def run(word: str, *more: str) -> str:
        with start(word, *more) as program:
            said, problems = program.communicate(timeout=100)
        assert program.returncode == 0, said + problems
        return said

    return run


def commands() -> list[str]:
    """The page's commands."""
    return re.findall(r"^\$ (.*)$", README, re.MULTILINE)


def answer_like(wrong_share: dict[int, float]) -> Callable:
    """A model that tells dark from bright, but for a share of the pictures, by version."""

    def answer(request: pb.PredictRequest, context: grpc.ServicerContext) -> pb.PredictResponse:
        version = {"stable": 1, "canary": 2}[request.model_spec.version_label]
        files = tensors.from_proto(request.inputs[contract.INPUT_IMAGE_BYTES]).tolist()
        pixels = np.array([np.asarray(Image.open(io.BytesIO(file))) for file in files])
        wrong = pixels[:, 0, 0, 0] % 100 < 100 * wrong_share[version]
        bright = (pixels.mean((1, 2, 3)) > 114) ^ wrong
        response = pb.PredictResponse(model_spec={"name": request.model_spec.name})
        response.model_spec.version.value = version
        outputs = {
            contract.OUTPUT_PROBABILITY: np.where(bright, 0.9, 0.1).astype(np.float32),
            contract.OUTPUT_LABEL: [CLASSES[int(one)].encode() for one in bright],
            contract.OUTPUT_NEEDS_REVIEW: np.zeros(len(files), bool),
            contract.OUTPUT_VALID: np.ones(len(files), bool),
        }
        for name, value in outputs.items():
            response.outputs[name].CopyFrom(tensors.to_proto(value))
        return response

    return answer


def test_the_ab_test_finds_the_better_version(server, example, tmp_path):
    server.handlers["Predict"] = answer_like({1: 0.4, 2: 0.0})

    said = example("ab_test/ask.py")

    assert said.startswith(f"{PICTURES} pictures: ")
    lines = (tmp_path / "build/ab/exposures.jsonl").read_text().splitlines()
    sides = {json.loads(line)["label"] for line in lines}
    assert (len(lines), sides) == (PICTURES, {"stable", "canary"})
    verdict = example("experiment verdict").splitlines()[-1]
    assert verdict.startswith("canary is better than stable "), verdict


def test_the_ab_test_without_a_server_goes_on_and_asks_for_people(server, example, tmp_path):
    server.stop()

    example("ab_test/ask.py")

    lines = (tmp_path / "build/ab/exposures.jsonl").read_text().splitlines()
    exposures = [json.loads(line) for line in lines]
    assert {(one["answered_by"], one["needs_review"]) for one in exposures} == {("default", True)}


def test_the_shadow_is_compared_and_its_answers_are_not_used(server, example):
    server.handlers["Predict"] = answer_like({1: 0.0, 2: 0.25})

    said = example("shadow.py", "--share=1")

    lines = said.splitlines()
    names = dict(line.split()[:2] for line in lines[:-1])
    truth = {f"{number:03}.png": CLASSES[number % 2] for number in range(PICTURES)}
    assert names == truth  # what the stable version says
    assert lines[-1] == f"{PICTURES} pictures; mirrored: {{'compared': {PICTURES}}}"
    report = example("shadow-report")
    agreed = int(re.search(rf"agree +(\d+) of {PICTURES}", report)[1])
    assert 0.6 * PICTURES < agreed < 0.9 * PICTURES


def test_a_locust_user_counts_answers_and_names_failures(server, start, tmp_path):
    honest, asked = answer_like({1: 0.0, 2: 0.0}), iter(range(10**6))

    def every_other_one_fails(request: pb.PredictRequest, context: grpc.ServicerContext):
        if next(asked) % 2:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")
        return honest(request, context)

    server.handlers["Predict"] = every_other_one_fails

    with start("locust_user.py", "--json") as locust:
        deadline = time.monotonic() + 60
        while len(server.asked("Predict")) < 20:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        locust.send_signal(signal.SIGINT)  # it need not load the server for the whole minute
        said, problems = locust.communicate(timeout=60)

    assert locust.returncode == 1, said + problems  # since requests failed
    (row,) = json.loads(said)
    assert (row["method"], row["name"]) == ("grpc", "classify")
    assert 0 < row["num_failures"] < row["num_requests"] <= len(server.asked("Predict"))
    (failure,) = re.findall(r"grpc classify: (.*)", problems)
    assert failure.strip() == "RuntimeError('OverloadedError')"


def test_every_example_is_on_the_page_and_every_command_is_run_by_a_test():
    linked = set(re.findall(r"\]\((\S+\.py)\)", README))
    programs = {
        str(path.relative_to(ROOT / "examples")) for path in (ROOT / "examples").rglob("*.py")
    }
    assert linked == programs
    here = ["ab_test/ask.py", "experiment verdict", "shadow.py", "shadow-report", "locust_user.py"]
    of_service = ["pip install ", "uvicorn ", "curl "]  # tests/e2e/test_example_service.py
    assert [
        line for line in commands() if not any(word in line for word in here + of_service)
    ] == []
