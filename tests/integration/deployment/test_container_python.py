"""The images of the project's own code, called as Kubernetes calls them.

`make test-container` makes them, on a stand-in for Python's image where that cannot be pulled.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from serving.container import engine as server
from tests.container import stand_in, trained
from tests.container.asking import HARD, SLOW_S, Engine
from tests.container.stand_in import ROOT, TOOLS, TRAINING
from tests.integration.local_server_fixtures import eventually
from tfs_client import contract

K8S = ROOT / "k8s"


def containers(*names: str) -> dict[str, dict[str, Any]]:
    """The containers of these files of k8s/, by name."""
    found = {}
    for name in names:
        for document in yaml.safe_load_all((K8S / name).read_text("utf-8")):
            spec = document.get("spec", {})
            pod = spec if document["kind"] == "Pod" else spec.get("template", {}).get("spec", {})
            for one in pod.get("containers", ()):
                found[document["metadata"]["name"] + "/" + one["name"]] = one
    return found


CALLERS = containers(
    *("overlays/local/model-loader.yaml", "base/server/deployment.yaml"),
    *("components/loadtest/master.yaml", "components/loadtest/workers.yaml"),
)


@pytest.fixture(scope="module")
def ask() -> Engine:
    engine = Engine(stand_in.python_image(), TOOLS, TRAINING)
    for tag, packages in ((TOOLS, "tools"), (TRAINING, "training")):
        stand_in.build(engine.name, tag, f"--build-arg=PACKAGES={packages}")  # with today's code
    return engine


@pytest.fixture(scope="module")
def store(ask: Engine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained.store(ask, tmp_path_factory)


@pytest.fixture
def network(ask: Engine) -> Iterator[str]:
    name = f"image-classifier-test-{time.monotonic_ns()}"
    ask("network", "create", "--internal", name)
    yield name
    ask("network", "rm", name)


@pytest.fixture
def serving(ask: Engine, store: Path, network: str) -> Iterator[str]:
    """The local server in the image of tools, with production's flags."""
    flags = server.server_flags(server.Settings(), "serving/models.config")
    command = ["tensorflow_model_server", "--port=8500", "--rest_api_port=8501", *flags]
    where = (f"--network={network}", "--network-alias=image-classifier-grpc")
    name = ask("run", "-d", *HARD, *where, f"--volume={store}:/models:ro", TOOLS, *command)
    try:
        ask("exec", name, "tfs", "wait-ready", f"--timeout-s={SLOW_S:g}")
        yield name
    finally:
        ask("rm", "--force", name)


@pytest.mark.parametrize("image", [TOOLS, TRAINING])
def test_it_runs_as_a_plain_user_that_can_write_nowhere_but_in_tmp(ask: Engine, image: str) -> None:
    tried = 'id -u; pwd; touch /tmp/x && for place in / . "$(dirname "$(command -v python)")"; do '
    tried += 'touch "$place/x" 2>/dev/null && echo "wrote to $place"; done; true'
    # Without --read-only: the user alone must not be able to change the code.
    said = ask("run", "--rm", "--init", "--cap-drop=ALL", image, "sh", "-c", tried)
    assert said.split() == ["1000", "/opt/image-classifier"]


def test_everything_that_pods_call_is_on_its_path(ask: Engine) -> None:
    called = {one["command"][0] for one in CALLERS.values()}
    assert called == {"sleep", "python", "tensorflow_model_server"}
    called |= {"tar", "mkdir", "mv", "tfs"}  # kubectl cp and exec, and a person
    look = 'for name in "$@"; do command -v "$name" >/dev/null && echo "$name"; done; true'
    found = ask("run", "--rm", TOOLS, "sh", "-c", look, "look", *called)
    assert set(found.split()) == called


@pytest.mark.parametrize(
    ("image", "missing"),
    [(TOOLS, "sklearn scipy tensorboard"), (TRAINING, "locust aiohttp elpv_dataset")],
)
def test_it_holds_no_packages_for_checking_building_or_another_image(
    ask: Engine, image: str, missing: str
) -> None:
    missing += " pip ruff mypy hypothesis hatchling uv"
    code = "import importlib.util, sys; print(*filter(importlib.util.find_spec, sys.argv[1:]))"
    found = ask("run", "--rm", image, "python", "-c", code, *missing.split(), "numpy")
    assert found == "numpy"
    left_out = "tests serving/client/tests k8s models runs requirements.lock"
    assert ask("run", "--rm", image, "sh", "-c", f"ls -d {left_out} 2>/dev/null; true") == ""


def test_a_server_in_it_answers_the_client_in_it_and_stops_promptly(
    ask: Engine, serving: str
) -> None:
    code = "from loadtest.traffic import images; print(*images.choose(None, seed=0, limit=3))"
    pictures = ask("exec", serving, "python", "-c", code).split()
    answers = json.loads(ask("exec", serving, "tfs", "predict", "--json", *pictures))
    assert len(answers) == len(pictures) == 3
    for answer in answers:
        assert answer["label"] in {"good", "bad"}
        assert answer["model_version"] == 1
    begun = time.monotonic()
    ask("stop", "--time=30", serving)
    assert time.monotonic() - begun < 10


def test_the_load_test_of_the_cluster_runs_in_it_and_every_answer_is_right(
    ask: Engine, serving: str, network: str
) -> None:
    master, worker = CALLERS["loadtest-master/locust"], CALLERS["loadtest-worker/locust"]
    short = {"--duration-s": "3", "--users": "4", "--remote-workers": "1"}
    split = [argument.partition("=") for argument in master["args"]]
    args = [f"{name}{equals}{short.get(name, value)}" for name, equals, value in split]
    where = (f"--network={network}", "--network-alias=loadtest-master")
    build = "--tmpfs=/opt/image-classifier/build:mode=1777"
    leader = ask("run", "-d", *HARD, *where, build, TOOLS, *master["command"], *args)
    user = ask(
        *("run", "-d", *HARD, f"--network={network}", TOOLS),
        *(*worker["command"], *worker["args"]),
    )
    try:
        eventually(
            lambda: not ask.inspect(leader)["State"]["Running"], "the end of the test", SLOW_S
        )
        logs = ask.run("logs", leader)
        assert ask.inspect(leader)["State"]["ExitCode"] == 0, logs.stdout + logs.stderr
        said = dict(line.split()[:2] for line in logs.stderr.splitlines() if line.startswith("  "))
        assert int(said["requests"]) > 10
        assert said["failures"] == "0"
        assert said["finished"] == "True"
    finally:
        ask("rm", "--force", leader, user)


def test_the_training_image_leaves_a_version_that_describes_itself(store: Path) -> None:
    version = store / contract.MODEL_NAME / "1"
    card = json.loads((version / "assets.extra" / "model_card.json").read_text("utf-8"))
    assert card["version"] == 1
    assert (version / "saved_model.pb").stat().st_uid == 1000
