"""The local server over the table's models, one for each setup, for as long as the tests run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance import local, models, setups
from tests.conformance.local import LocalServer
from tests.conftest import made_once


@pytest.fixture(scope="session")
def table_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the models, made once for all test processes."""

    def make(folder: Path) -> None:
        folder.mkdir()
        models.make(folder)
        setups.write_files(folder, str(folder))

    return made_once(tmp_path_factory, "conformance", make)


@pytest.fixture(scope="session")
def default_server(
    table_models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalServer]:
    with local.running(table_models, "default", tmp_path_factory.mktemp("default")) as server:
        yield server


@pytest.fixture(scope="session")
def flags_server(
    table_models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalServer]:
    with local.running(table_models, "flags", tmp_path_factory.mktemp("flags")) as server:
        yield server
