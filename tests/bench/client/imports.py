"""What importing the client costs, beside what it stands on and beside other clients.

Each import is in a process of its own, without the interpreter's start.
"""

from __future__ import annotations

import dataclasses
import os
import random
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from foundation import progress
from foundation.command_line import InputError
from tests.bench.client.processes import OURS
from tests.bench.samples import write_csv

BASELINE: Final = "grpcio_numpy_protobuf"
BARE: Final = "package_alone"

STATEMENTS: Final = {
    # "protobuf alone" is what protoc writes into every generated file, and no message: the least
    # that a user of protobuf imports.
    BASELINE: """\
import grpc
import numpy
from google.protobuf import descriptor, descriptor_pool, message, runtime_version, symbol_database
from google.protobuf.internal import builder""",
    # The package looks its names up when they are used: what services use is asked for.
    OURS: """\
from tfs_client import AsyncClient, AsyncImageClassifier, Client, ImageClassifier, Servable""",
    BARE: "import tfs_client",
    "tensorflow_serving_api": """\
import grpc
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc""",
    "ovmsclient": "from ovmsclient import make_grpc_client",
}

SCRIPT: Final = """\
import sys, time
begin = time.perf_counter()
{statement}
took = time.perf_counter() - begin
with open("/proc/self/status") as lines:
    (resident,) = [line.split()[1] for line in lines if line.startswith("VmRSS")]
roots = [name.partition(".")[0] for name in sys.modules]
print(took, resident, sum(root in ("tensorflow", "tensorflow_serving", "keras") for root in roots))
"""

RIVALS_EVERY: Final = 8
"""Rounds: importing TensorFlow takes seconds."""


@dataclasses.dataclass(frozen=True)
class Import:
    """One import in a fresh process."""

    seconds: float
    mb: float
    """Resident memory right after it, the interpreter's included."""
    tensorflow_modules: int


Rounds = list[dict[str, Import]]
"""By the names of STATEMENTS; the rivals are not in every round."""


def measure(pythons: Mapping[str, Path], rounds: int) -> Rounds:
    """Imports everything in turn, again and again, in an order that changes.

    Args:
        pythons: the rivals' interpreters; those that are missing are left out.
        rounds: how often.
    """
    ours = [BASELINE, OURS, BARE]
    for name in [*ours, *pythons]:  # compiled to .pyc, and read from the disk
        take(name, pythons.get(name))
    taken: Rounds = []
    for number in progress.tracked(range(rounds), "import", unit="rounds"):
        names = [*ours, *(pythons if number % RIVALS_EVERY == 0 else ())]
        random.Random(number).shuffle(names)
        taken.append({name: take(name, pythons.get(name)) for name in names})
    return taken


def take(name: str, python: Path | None = None) -> Import:
    """One import.

    Args:
        name: one of STATEMENTS.
        python: a rival's interpreter; None means this one.

    Raises:
        InputError: it cannot be imported.
    """
    done = subprocess.run(
        [str(python or sys.executable), "-I", "-c", SCRIPT.format(statement=STATEMENTS[name])],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        words = " ".join(done.stderr.split())[-300:]
        raise InputError(f"Expected {name} to be imported. Received: {words}")
    seconds, kilobytes, modules = done.stdout.split()[-3:]
    return Import(float(seconds), int(kilobytes) / 1024, int(modules))


def write(rounds: Rounds, path: Path) -> None:
    """A line an import, CSV."""
    rows = [
        (number, name, f"{one.seconds:.6f}", f"{one.mb:.2f}", one.tensorflow_modules)
        for number, taken in enumerate(rounds)
        for name, one in taken.items()
    ]
    write_csv(path, "round,name,seconds,mb,tensorflow_modules", rows)
