"""What `make serve` starts, on free ports, for the tests of a module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.launching import first_config, serving


@pytest.fixture(scope="module")
def served(store: Path, sample_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    """What `make serve` starts over version 1: (gRPC address, REST address, its log file)."""
    folder = tmp_path_factory.mktemp("talk")
    flags = ("--models", str(store), "--config", str(first_config(folder)))
    with serving(folder / "serve.log", *flags) as found:
        yield found
