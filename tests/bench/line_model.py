"""Writes a tiny model whose answer tells which version gave it: y = x / 2 + the version's offset.

    python -m tests.bench.line_model MODELS 1=1.0 2=100.0

Leaves MODELS/line/1, MODELS/line/2 and so on. A command, so that no process that is measured
imports TensorFlow.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from foundation.command_line import InputError
from tests.environments import ROOT

MODEL = "line"


def main() -> int:
    """Writes it."""
    from tests import tiny_models  # here: it imports TensorFlow

    models = Path(sys.argv[1])
    for argument in sys.argv[2:]:
        version, _, offset = argument.partition("=")
        module = tiny_models.Affine(float(offset))
        tiny_models.save(module, models / MODEL / version, serving_default=module.serve)
    return 0


def write(models: Path, offsets: Mapping[int, float]) -> None:
    """Runs the command.

    Args:
        models: the store.
        offsets: version → offset.

    Raises:
        InputError: it fails.
    """
    versions = [f"{version}={offset}" for version, offset in offsets.items()]
    command = [sys.executable, "-m", "tests.bench.line_model", str(models.resolve()), *versions]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise InputError(f"Expected a model to be written. Received: {done.stderr[-300:]}")


def config(labels: Mapping[str, int], versions: int = 1) -> str:
    """models.config for the first versions of the model.

    Args:
        labels: label → version.
        versions: 1 to this one are served.
    """
    served = " ".join(f"versions: {version}" for version in range(1, versions + 1))
    pointed = " ".join(
        f'version_labels {{ key: "{label}" value: {version} }}' for label, version in labels.items()
    )
    return (
        f'model_config_list {{ config {{ name: "{MODEL}" base_path: "/models/{MODEL}" '
        f'model_platform: "tensorflow" model_version_policy {{ specific {{ {served} }} }} '
        f"{pointed} }} }}"
    )


if __name__ == "__main__":
    sys.exit(main())
