"""The overlay `local` with the image of the tools, by the commands of k8s/README.md, word for word.

    python -m pytest tests/cluster/check_local.py       two minutes

Building the image and loading it into kind are left out: the test cluster loads images itself.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.cluster import server_image, serving_fleet
from tests.cluster.cluster import Cluster
from tests.container.stand_in import TOOLS
from tests.environments import ROOT, UnavailableError
from tests.integration.local_server_fixtures import eventually
from tfs_client import Client

README = (ROOT / "k8s" / "README.md").read_text(encoding="utf-8")

STEP_S = 120


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    try:
        image = server_image.archive(TOOLS)
        with Cluster() as running:
            running.load_image(image)
            yield running
    except UnavailableError as error:
        pytest.skip(str(error))


def commands() -> list[str]:
    """The commands below "On a laptop", without those of kind and docker."""
    (block,) = re.findall(r"On a laptop.*?```console\n(.*?)```", README, re.DOTALL)
    found = re.findall(r"^\$ (.*)$", block, re.MULTILINE)
    return [one for one in found if not one.startswith(("docker ", "kind "))]


def test_a_laptop_serves_what_was_copied_in(cluster: Cluster, tmp_path: Path) -> None:
    store = tmp_path / "volume"
    store.mkdir()
    store.chmod(0o777)
    serving_fleet.provide_store(cluster, store, mode="ReadWriteOnce")
    serving_fleet.save_store(tmp_path / "models")
    (tmp_path / "Makefile").write_text(f"include {ROOT}/Makefile\n")
    for name in (".venv", "k8s", "serving", "foundation", "training", "requirements.lock"):
        (tmp_path / name).symlink_to(ROOT / name)
    environment = {**cluster.environment, "PYTHONPATH": str(ROOT)}
    *before, last = commands()
    assert len(before) >= 5
    for one in before:
        done = subprocess.run(
            shlex.split(one),
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=STEP_S,
            check=False,
        )
        assert done.returncode == 0, (one, done.stdout, done.stderr)
    assert last.startswith("kubectl port-forward deployment/")

    def ready() -> bool:
        found = cluster.get(
            "deployment", "image-classifier", f"--namespace={serving_fleet.NAMESPACE}"
        )
        return bool(found["status"].get("availableReplicas"))

    eventually(ready, "the server", STEP_S)
    with subprocess.Popen(
        shlex.split(last), env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True
    ) as forwarding:
        assert forwarding.stdout is not None
        try:
            assert "Forwarding from" in forwarding.stdout.readline()
            with Client("localhost:8500") as client:
                answer = client.predict({"x": np.array([4.0], np.float32)}, label="stable")
                assert (answer.version, answer["y"].tolist()) == (1, [3.0])
        finally:
            forwarding.terminate()
