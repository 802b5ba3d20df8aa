"""The fixtures for pytest, and what importing the fakes costs."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys

TESTS = """
from tfs_client import Client, ImageClassifier
from tfs_client.testing import FakeClassifier, FakeServer, example_picture


def test_with_a_server(tfs_server: FakeServer):
    tfs_server.answers(label="defective")
    with Client(tfs_server.target) as client:
        assert ImageClassifier(client).predict(example_picture()).label == "defective"


def test_without_a_server(tfs_classifier: FakeClassifier):
    assert tfs_classifier.predict(example_picture()).label == "sound"


def test_whose_script_runs_out(tfs_classifier):
    tfs_classifier.answers(times=1)
    tfs_classifier.predict(example_picture())
    try:
        tfs_classifier.predict(example_picture())
    except Exception:
        pass  # as a service that catches all errors
"""


def test_the_fixtures_are_there_and_fail_a_test_whose_script_ran_out(tmp_path):
    (tmp_path / "test_service.py").write_text(TESTS)
    # By its name, so that it is found in a checkout that was not installed anew; else the same.
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tfs_client.pytest_plugin"]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", "test_service.py"],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if "PYTEST" not in name},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "3 passed, 1 error" in done.stdout, done.stdout + done.stderr
    assert "ScriptError: Expected no further Predict" in done.stdout


def test_the_package_registers_them_with_pytest():
    name = "tfs_client.pytest_plugin"
    registered = {one.name: one.value for one in importlib.metadata.entry_points(group="pytest11")}
    assert registered.get(name) == name, "install the client anew: pip install -e serving/client"


def modules_after(statement):
    script = f"{statement}\nimport sys; print(*sys.modules)"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_fakes_need_no_pytest_and_the_plugin_loads_no_grpc():
    roots = {name.partition(".")[0] for name in modules_after("import tfs_client.testing")}
    assert "grpc" in roots
    assert not roots & {"pytest", "_pytest", "PIL", "tensorflow", "keras", "ml_dtypes"}
    # pytest imports the plugin in every run, of whatever tests.
    loaded = modules_after("import tfs_client.pytest_plugin")
    assert "tfs_client.pytest_plugin" in loaded
    assert not {name.partition(".")[0] for name in loaded} & {"grpc", "numpy"}
