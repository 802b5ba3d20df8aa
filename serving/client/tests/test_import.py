"""What importing the client costs, each in a fresh process."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys

import pytest

import tfs_client


def modules_after(statement: str) -> set[str]:
    script = f"{statement}\nimport sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_the_client_loads_neither_tensorflow_nor_pillow():
    loaded = modules_after("from tfs_client import Client, ImageClassifier, image_to_array")
    assert {"grpc", "numpy", "tfs_client.images.classifier"} <= loaded
    roots = {name.partition(".")[0] for name in loaded}
    assert not roots & {"tensorflow", "tensorflow_serving", "keras", "PIL", "ml_dtypes"}


def test_the_contract_needs_the_standard_library_alone():
    roots = {name.partition(".")[0] for name in modules_after("import tfs_client.contract")}
    assert "tfs_client" in roots
    assert not roots & {"grpc", "google", "numpy", "PIL"}


def test_every_public_name_is_there_and_no_other():
    for name in tfs_client.__all__:
        assert getattr(tfs_client, name).__name__ == name
        assert name in dir(tfs_client)
    with pytest.raises(AttributeError, match="has no attribute 'Nonsense'"):
        _ = tfs_client.Nonsense


def test_the_version_is_the_installed_packages():
    assert tfs_client.__version__ == importlib.metadata.version("tfs-client")
