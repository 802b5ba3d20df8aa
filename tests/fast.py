"""What `make test-fast` holds its tests to: no TensorFlow, and no process that imports it.

    python -m pytest -p tests.fast -m "not thorough and not slow" tests/unit serving/client/tests

A test that breaks this belongs in tests/integration.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

PACKAGES = ("tensorflow", "keras", "tensorflow_serving")

COMMANDS = (
    "serving.local",
    "serving.launch",
    "training.",
    "export.",
    "tests.integration.",
    "tests.preloaded",
)
"""Modules that would import TensorFlow in another process begin like this."""

WHERE_TO = "make test-fast runs without TensorFlow: move the test to tests/integration"


class _Refusing:
    """Finds the packages before any other finder, and refuses them."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Raises ModuleNotFoundError for one of PACKAGES."""
        if name.partition(".")[0] in PACKAGES:
            raise ModuleNotFoundError(f"{name} is refused: {WHERE_TO}", name=name)
        return None


def _refuse_commands(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "subprocess.Popen":
        command = [str(word) for word in arguments[1]]
        if "-m" in command:
            module = command[command.index("-m") + 1]
            if module.startswith(COMMANDS):
                raise RuntimeError(f"python -m {module} is refused: {WHERE_TO}")


sys.meta_path.insert(0, _Refusing())
sys.addaudithook(_refuse_commands)
