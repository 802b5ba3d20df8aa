"""Fixtures for pytest; they are there wherever tfs-client is installed.

    def test_a_defect_is_reported(tfs_server):
        tfs_server.answers(label="defective", probability=0.9)
        assert my_service(tfs_server.target).check("cell.png") == "rejected"

What went wrong with a script fails the test when the fixture ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tfs_client.testing import FakeClassifier, FakeServer


@pytest.fixture
def tfs_server() -> Iterator[FakeServer]:
    """A FakeServer with the contract's image classifier, on a free port."""
    # Here: pytest imports this module in every run, of whatever tests. So it is not in testing/.
    from tfs_client.testing import FakeServer

    with FakeServer() as server:
        yield server


@pytest.fixture
def tfs_classifier() -> Iterator[FakeClassifier]:
    """A FakeClassifier: an ImageClassifier without a server."""
    from tfs_client.testing import FakeClassifier

    with FakeClassifier() as classifier:
        yield classifier
